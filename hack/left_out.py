"""The last line of `make test`: what was left out on this machine, and how to have it (`python -m hack.left_out`).

The file that $LEFT_OUT names has the reasons of skipped tests, a line each; tests/conftest.py writes them.
"""

import os
import sys
from collections import Counter
from pathlib import Path


def last_line(reasons: Counter[str]) -> str:
    """One line about all runs."""
    if not reasons:
        return "All tests were run; nothing was left out."
    what = "; ".join(f"{count}: {reason}" for reason, count in sorted(reasons.items()))
    return f"{reasons.total()} tests were left out. {what}."


def main() -> None:
    path = Path(os.environ["LEFT_OUT"])
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    sys.stdout.write(f"{last_line(Counter(text.splitlines()))}\n")


if __name__ == "__main__":
    main()
