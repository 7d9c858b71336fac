"""The tables, and that the page shows those of the results that are committed."""

import pytest

from bench.page import PAGE, filled
from bench.results import BadImage, Results, Rollout
from bench.tables import all_tables, bad_image_table, cost_table, seconds_table, slow_start_table
from tests.cluster.harness.cluster import ROOT


def made() -> Results:
    results = Results(about={"date": "today", "machine": "a machine", "raised": "5000", "versions": {}, "settings": {}})
    writes = {"pods": 200, "scalesets/status": 10}
    row = Rollout("ours", "defaults", 100, 1.0, 6.04, 20, writes, cpu=1.0, memory=80.4, machine=0.5, fixed_work=0.351)
    results.add(row)
    results.add(Rollout("ours", "defaults", 1000, 10.0, 54.0, 200, {"pods": 2000}))
    results.add(Rollout("deployment", "defaults", 100, 1.0, 16.0, 20, {"pods": 200, "events": 200}, together=True))
    results.add(Rollout("deployment", "raised", 100, 1.0, error="all are Ready: not within 95 s"))
    results.add(BadImage("ours", 100, 20.0, exposed=20, most_unavailable=20, alone=21.5))
    results.add(BadImage("deployment", 100, 20.0, 20, 20, patience=45.0, human="set the image back", helped=2.5))
    return results


def test_seconds_by_size_and_limits():
    table = seconds_table(made())
    assert table.head == ("controller", "N=100 defaults", "N=100 raised")
    assert table.rows == (
        ("ScaleSet", "6.0", "–"),
        ("Deployment", "16.0*", "failed: all are Ready: not within 95 s"),
    )
    assert "5 s is the least that is possible" in table.title


def test_costs_of_rows_that_did_not_fail():
    rows = cost_table(made(), 100).rows
    assert rows[0] == ("ScaleSet", "defaults", "1.0", "20 (20 %)", "2.10", "2.00", "1.0", "80", "50 %", "0.35")
    assert [row[:3] for row in rows[1:]] == [("Deployment", "defaults", "11.0*")]


def test_writes_that_were_lost_are_not_shown_as_none():
    results = made()
    results.add(Rollout("argo-rollouts", "defaults", 100, 1.0, 16.0, 20, {}))
    assert cost_table(results, 100).rows[-1][4:6] == ("–", "–")


def test_slow_starts_show_the_share_that_is_overhead():
    assert slow_start_table(made()).rows == (("ScaleSet", "defaults", "1000", "10", "54.0", "50", "8.0 %", "2.00"),)


def test_bad_images_show_who_needs_a_human():
    assert bad_image_table(made()).rows == (
        ("ScaleSet", "20 (20 %)", "20", "21.5 s", "nothing", "–"),
        ("Deployment", "20 (20 %)", "20", "never (waited 45 s)", "set the image back", "2.5 s"),
    )


def test_tables_without_rows_are_left_out():
    results = made()
    results.bad_images.clear()
    assert [table.title[:8] for table in all_tables(results)] == ["Seconds ", "What it ", "Instance"]


def test_markdown_has_a_line_for_every_row():
    lines = seconds_table(made()).markdown().splitlines()
    assert lines[1] == "| --- | ---: | ---: |"
    assert len(lines) == 4


def test_the_page_keeps_its_prose():
    text = (
        "a\n<!-- bench: tables -->old<!-- bench: end of tables -->\nb<!-- bench: about --><!-- bench: end of about -->c"
    )
    page = filled(text, made())
    assert page.startswith("a\n")
    assert page.endswith("c")
    assert "old" not in page
    assert "| Deployment | 16.0*" in page
    assert filled(page, made()) == page


def test_a_page_without_markers_is_refused():
    with pytest.raises(ValueError, match="lacks <!-- bench: about -->"):
        filled("nothing", made())


def test_the_page_shows_the_committed_results():
    """`make bench ARGS=--render` writes it again."""
    text = PAGE.read_text()
    assert filled(text, Results.load(ROOT / "bench" / "results.json")) == text
