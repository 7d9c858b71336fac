"""Puts the results into docs/performance.md, between its markers, and draws its charts."""

from tests.cluster.harness.cluster import ROOT

from .results import Results
from .tables import all_tables

PAGE = ROOT / "docs" / "performance.md"


def write_page(results: Results) -> None:
    """Replaces what is between the markers, and the charts; the prose stays."""
    from .chart import draw

    PAGE.write_text(filled(PAGE.read_text(), results))
    draw(results, PAGE.parent / "images")


def filled(text: str, results: Results) -> str:
    """The page with these results. Raises ValueError when it lacks a marker."""
    for name, content in (("about", _about(results)), ("tables", _tables(results))):
        begin, end = f"<!-- bench: {name} -->", f"<!-- bench: end of {name} -->"
        before, found, rest = text.partition(begin)
        _, closed, after = rest.partition(end)
        if not found or not closed:
            raise ValueError(f"{PAGE.name} lacks {begin} or {end}: put them where the results are to be.")
        text = f"{before}{begin}\n{content}\n{end}{after}"
    return text


def _about(results: Results) -> str:
    about = results.about
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    settings = "\n".join(f"| {name} | {value} |" for name, value in about["settings"].items())
    return (
        f"Measured {about['date']} on {about['machine']}: {versions}.\n\n"
        f"| controller | settings |\n| --- | --- |\n{settings}\n\n"
        f'"Raised" limits: {about["raised"]}.'
    )


def _tables(results: Results) -> str:
    return "\n\n".join(f"**{table.title}**\n\n{table.markdown()}" for table in all_tables(results))
