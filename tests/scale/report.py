"""The table that a measurement prints, and what it missed."""

from dataclasses import dataclass, field


@dataclass
class Report:
    """Rows of the table, and what was missed."""

    rows: list[tuple[str, str, str]] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)

    def add(self, what: str, found: str, goal: str = "", *, kept: bool = True) -> None:
        self.rows.append((what, found, goal))
        if not kept:
            self.missed.append(f"{what}: {found}, to be {goal}")
        print(f"  {what}: {found}{f' (goal: {goal})' if goal else ''}", flush=True)  # noqa: T201 - what it is for

    def table(self) -> str:
        lines = ["| | measured | goal |", "|---|---|---|"]
        return "\n".join([*lines, *(f"| {what} | {found} | {goal} |" for what, found, goal in self.rows)])
