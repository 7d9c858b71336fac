"""The table of values in the chart's README."""

import json
from collections.abc import Iterable
from itertools import groupby

from hack.chart.values import Value

BEGIN = "<!-- values: written by `make chart` from values.yaml -->"
END = "<!-- values: end -->"


def readme(text: str, values: Iterable[Value]) -> str:
    """The README with the table between its two marks. ValueError if a mark is missing."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the chart's README.md needs the lines {BEGIN} and {END}; the table goes between them")
    return f"{before}{BEGIN}\n{table(values)}\n{END}{after}"


def table(values: Iterable[Value]) -> str:
    """Markdown, a heading for each section."""
    leaves = [leaf for value in values for leaf in value.leaves()]
    parts = []
    for section, members in groupby(leaves, key=lambda leaf: leaf.section):
        rows = [f"| `{leaf.name}` | {_cell(leaf.text)} | {_default(leaf)} |" for leaf in members]
        parts.append("\n".join([f"\n### {section}\n", "| value | what it does | default |", "|---|---|---|", *rows]))
    return "\n".join(parts) + "\n"


def _default(leaf: Value) -> str:
    text = json.dumps(leaf.default, ensure_ascii=False)
    return f"`{_cell(text)}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
