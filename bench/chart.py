"""The chart of docs/performance.md: seconds for each size and writes, as SVG for light and for dark pages."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .contenders import CONTENDERS, DEFAULTS, RAISED, Contender
from .results import Results, Rollout, batches

WRITES_SIZE = 500


class Theme(NamedTuple):
    """Colours: of text and lines, of our bars and the others', each with default and with raised limits."""

    name: str
    text: str
    faint: str
    ours: str
    peers: tuple[str, str]


THEMES = (
    Theme("light", text="#24292f", faint="#c4cad1", ours="#0b6bcb", peers=("#6b7785", "#aeb8c2")),
    Theme("dark", text="#e6edf3", faint="#3d444d", ours="#58a6ff", peers=("#9aa6b2", "#5c6772")),
)


def draw(results: Results, folder: Path) -> list[Path]:
    """Writes benchmark-light.svg and benchmark-dark.svg, with a transparent ground; returns their paths."""
    written = []
    for theme in THEMES:
        path = folder / f"benchmark-{theme.name}.svg"
        settings: dict[Any, Any] = {
            "svg.fonttype": "none",  # text stays text
            "svg.hashsalt": "bench",  # the same figures give the same file
            "font.family": "sans-serif",
            "font.size": 9,
            **dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color", "ytick.color"), theme.text),
            "axes.edgecolor": theme.faint,
        }
        with mpl.rc_context(settings):
            figure = _figure(results, theme)
            figure.savefig(path, transparent=True, metadata={"Date": None})
        written.append(path)
    return written


def _figure(results: Results, theme: Theme) -> Figure:
    sizes = sorted({each.replicas for each in results.rollouts if each.start == 1})
    contenders = [each for each in CONTENDERS if any(row.contender == each.name for row in results.rollouts)]
    figure = Figure(figsize=(11, 1.2 + 0.42 * len(contenders) * ((len(sizes) + 2) // 2)), layout="constrained")
    axes = figure.subplots(nrows=(len(sizes) + 2) // 2, ncols=2, squeeze=False).flatten().tolist()
    for panel, size in zip(axes, sizes, strict=False):
        _bars(
            panel, [[_row(results, each, limits, size) for limits in (DEFAULTS, RAISED)] for each in contenders], theme
        )
        panel.set_title(f"seconds from publishing to all Ready, N={size}", loc="left", fontsize=10)
        panel.axvline(batches(size), color=theme.text, linewidth=0.8, linestyle="--")
    size = WRITES_SIZE if WRITES_SIZE in sizes else sizes[-1]
    rows = [[_row(results, each, limits, size) for limits in (DEFAULTS, RAISED)] for each in contenders]
    _bars(axes[len(sizes)], rows, theme, writes=True)
    axes[len(sizes)].set_title(f"API writes an instance, N={size}", loc="left", fontsize=10)
    for number, panel in enumerate(axes):
        panel.set_visible(number <= len(sizes))
        panel.set_yticks(range(len(contenders)), [each.title for each in contenders] if number % 2 == 0 else [])
        panel.invert_yaxis()
    figure.supxlabel(
        "upper bars: default client limits; lower bars: raised ones; dashed line: the start times of the batches alone",
        fontsize=8,
    )
    return figure


def _bars(panel: Axes, rows: Sequence[Sequence[Rollout | None]], theme: Theme, *, writes: bool = False) -> None:
    for place, pair in enumerate(rows):
        measured = [row for row in pair if row is not None and row.seconds is not None]
        for number, row in enumerate(measured):
            value = row.writes_per_instance if writes else row.seconds or 0.0
            height = 0.8 / len(measured)
            position = place - 0.4 + height * (number + 0.5)
            ours = row.contender.startswith("ours")
            colour = theme.ours if ours else theme.peers[row.limits == RAISED]
            panel.barh(position, value, height=height * 0.9, color=colour)
            panel.annotate(
                f"{value:.1f}", (value, position), xytext=(3, 0), textcoords="offset points", va="center", fontsize=8
            )
    panel.spines[["top", "right"]].set_visible(False)
    panel.margins(x=0.12)
    panel.set_xlim(left=0)


def _row(results: Results, contender: Contender, limits: str, size: int) -> Rollout | None:
    return results.rollout(contender.name, limits, size, 1)
