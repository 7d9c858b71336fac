"""Measures one leader of a fleet that no test machine can run, and prints a table: `make test-fleet`, docs/scale.md.

Store, indexes, queues and planner are the operator's own; an API server in the same process answers them from a fleet
at rest (`stand_in`). Each size has a process of its own. Ends with 1 when a bound is missed: an event that costs more
in a larger fleet, a callback that takes too long, a write in a fleet at rest. Seconds are printed and not judged.
"""

import argparse
import asyncio
import json
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path

from scaleset.runtime.process import collect_less
from tests.cluster.harness.cluster import ROOT
from tests.scale.fleet import Fleet
from tests.scale.leader import Figures, measure
from tests.scale.report import Report

DOUBLINGS = 3
GROWTH = 1.5
"""Most that an event may cost in the largest fleet, as a multiple of what it costs in the smallest."""
LONGEST_SECONDS = 0.1
EVENTS: dict[str, Callable[[Figures], float]] = {
    "event of a pod that means nothing": lambda found: found.ignored,
    "a pod not Ready and Ready again": lambda found: found.readiness,
    "event of a set": lambda found: found.status,
    "version published, each set that follows it": lambda found: found.publish / max(1, found.publish_looks),
    "version published, the event itself, each follower": lambda found: found.publish_event / found.followers,
}


def main() -> None:
    command = argparse.ArgumentParser(prog="python -m tests.scale.simulated", description=__doc__.splitlines()[0])
    command.add_argument("--sets", type=int, default=15_000, help="sets of the largest fleet")
    command.add_argument("--instances", type=int, default=10, help="instances of each of them")
    command.add_argument("--doublings", type=int, default=DOUBLINGS, help="how often the smallest fleet is doubled")
    command.add_argument("--alone", action="store_true", help="this size alone, and its figures as JSON")
    command.add_argument("--output", type=Path, default=ROOT / ".work" / "fleet.json")
    given = command.parse_args()
    if given.alone:
        print(json.dumps(asdict(one(given.sets, given.instances))))  # noqa: T201 - what it is for
        return
    found: list[Figures] = []
    for n in range(given.doublings + 1):  # the largest first: what goes wrong there should be known early
        sets = given.sets >> n
        say(f"{sets} sets of {given.instances}")
        found.insert(0, _apart(sets, given.instances))
        given.output.parent.mkdir(parents=True, exist_ok=True)
        given.output.write_text(json.dumps([asdict(each) for each in found], indent=2) + "\n")
    report = judge(found)
    say(report.table())
    if report.missed:
        sys.exit("Missed:\n" + "\n".join(report.missed))


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201 - minutes go by


def one(sets: int, instances: int) -> Figures:
    """Measured in this process, which should be a new one."""
    collect_less()
    return asyncio.run(measure(Fleet(sets, instances), say=say))


def _apart(sets: int, instances: int) -> Figures:
    command = [sys.executable, "-m", "tests.scale.simulated", "--alone"]
    command += ["--sets", str(sets), "--instances", str(instances)]
    ended = subprocess.run(command, stdout=subprocess.PIPE, cwd=ROOT, check=False)
    if ended.returncode:
        sys.exit(f"The process of {sets} sets ended with {ended.returncode}.")
    return Figures(**json.loads(ended.stdout))


def judge(found: list[Figures]) -> Report:
    """The table of all sizes, smallest first."""
    report, smallest, largest = Report(), found[0], found[-1]
    _row(report, "pods", [f"{each.pods:,} in {each.sets:,} sets" for each in found])
    _row(report, "memory at rest", [f"{each.memory:.0f} MiB" for each in found])
    _row(report, "memory at most, until all were decided", [f"{each.memory_peak:.0f} MiB" for each in found])
    added = [1024 * (each.memory - each.memory_before) / each.pods for each in found]
    _row(report, "memory a pod, with its share of the set", [f"{each:.1f} KiB" for each in added])
    _row(report, "start: processor time until all were decided", [f"{each.start:.1f} s" for each in found])
    _row(report, "start: processor time of kopf's thread", [f"{each.kopf:.1f} s" for each in found])
    _row(report, "start: seconds", [f"{each.start_wall:.0f}" for each in found])
    quiet = not any(each.writes_at_rest for each in found)
    _row(report, "start: writes", [str(each.writes_at_rest) for each in found], "0", kept=quiet)
    for what, of in EVENTS.items():
        grown = of(largest) / of(smallest)
        cells = [_time(of(each)) for each in found]
        _row(report, what, [*cells, f"{grown:.2f} times"], f"at most {GROWTH} times", kept=grown <= GROWTH)
    _row(report, "version published: looks", [str(each.publish_looks) for each in found])
    _row(report, "all lists once more", [f"{each.lists:.1f} s" for each in found])
    _row(report, "scrape: processor time", [f"{each.scrape:.1f} s" for each in found])
    _row(report, "scrape: size", [f"{each.scrape_mib:.0f} MiB" for each in found])
    _row(report, "memory at most, with a scrape", [f"{each.memory_scraped:.0f} MiB" for each in found])
    for what, longest in (
        ("start", [(each.start_longest, each.start_longest_what) for each in found]),
        ("events", [(each.longest, each.longest_what) for each in found]),
        ("lists once more", [(each.lists_longest, each.lists_longest_what) for each in found]),
    ):
        worst = max(longest)
        kept = worst[0] < LONGEST_SECONDS
        _row(report, f"{what}: longest callback", [_time(cpu) for cpu, _ in longest], "below 100 ms", kept=kept)
        say(f"    the longest was {worst[1]}")
    return report


def _row(report: Report, what: str, cells: Iterable[str], goal: str = "", *, kept: bool = True) -> None:
    report.add(what, ", ".join(cells), goal, kept=kept)


def _time(seconds: float) -> str:
    return f"{1e6 * seconds:.0f} µs" if seconds < 1e-3 else f"{1e3 * seconds:.1f} ms"


if __name__ == "__main__":
    main()
