"""Shows at the end of a run what tests measured: states visited, times, sizes (`record_property`)."""

from typing import Any


def pytest_terminal_summary(terminalreporter: Any) -> None:
    figures = [
        (name, value)
        for reports in terminalreporter.stats.values()
        for report in reports
        if getattr(report, "when", "") == "call"
        for name, value in getattr(report, "user_properties", [])
    ]
    if figures:
        terminalreporter.section("figures")
    for name, value in figures:
        terminalreporter.write_line(f"{name}: {value}")
