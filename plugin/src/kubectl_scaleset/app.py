"""The app: all verbs in the order in which help lists them."""

import typer

from kubectl_scaleset import administering, reading, writing

PROGRAM = "kubectl scaleset"

app = typer.Typer(
    name=PROGRAM,
    help="Watch and control ScaleSets: health-gated image upgrades, batch by batch.",
    add_completion=False,  # typer's own completion adds flags to every help and imports rich: see completing.py
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help as kubectl's, in a third of the time
)
reading.register(app)
writing.register(app)
administering.register(app)
