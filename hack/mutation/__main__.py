"""Changes planning/ in thousands of small ways, one at a time, and asks the unit tests whether they notice.

python -m hack.mutation                          all mutants: half a day on two cores
python -m hack.mutation --sample 600 --seed 8    that many, drawn over all modules; the same ones for the same seed
python -m hack.mutation --again                  those that survived, once more, with the long property tests as well

mutmut makes the mutants and runs for each the tests that reach the changed function. It works on a copy in
.work/mutation, since it expects a package in src/. `cd .work/mutation && ../../.venv/bin/mutmut show NAME` shows one.
"""

import argparse
import json
import math
import random
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]
TREE = ROOT / ".work" / "mutation"
NEEDED = ("crds", "deploy", "docs", "hack", "pyproject.toml", "README.md", "tests")
SMALLEST = "scaleset.planning.ranges.*"
KILLED = {1: "killed", 3: "killed", 24: "timeout", -24: "timeout", 36: "timeout", 152: "timeout", 255: "timeout"}
"""What the exit code of a mutant's tests means, as mutmut writes it down. All others (0: they passed, 33: no test
reaches it) count as survived.
"""
LONG = (
    "chaos.py::test_in_the_end_all_is_well",
    "chaos.py::test_surge_never_has_fewer_healthy_ones_whenever_it_is_killed",
    "record.py::test_no_forgery_of_a_running_rollout_takes_down_more_than_a_batch",
    "record.py::test_no_json_as_status_stops_a_decision",
    "replication_courses.py::test_whatever_happens_it_ends_with_the_image_everywhere_and_no_pod",
    "report.py::test_the_status_stays_below_100_kb_at_1000_instances_at_its_worst",
    "scaling.py::test_any_sequence_of_sizes_ends_at_the_last_one",
    "starts.py::test_a_run_that_the_gate_ended_is_tried_again_with_growing_delays",
    "surge.py::test_killed_after_any_single_write_it_goes_on",
    "worlds.py::TestAnyWorld::runTest",
)
"""Three quarters of the time that all take: left out until only survivors are asked again."""
TIMED = ("report.py::test_a_decision_about_1000_instances_takes_milliseconds",)
"""It measures time, and mutants are slow."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m hack.mutation", description=__doc__.partition("\n")[0])
    parser.add_argument("--sample", type=int, default=0, help="how many mutants; default: all")
    parser.add_argument("--seed", type=int, default=1, help="which ones (default: 1)")
    parser.add_argument("--again", action="store_true", help="only those that survived, with all tests")
    options = parser.parse_args()
    first = {name: code for name, code in results().items() if code is not None} if options.again else {}
    if options.again and not first:
        sys.exit("Nothing was run so far: run it without --again first.")
    prepare(without=TIMED if options.again else LONG + TIMED, keep=options.again)
    if options.again:
        chosen = sorted(name for name, code in first.items() if code not in KILLED)
    else:
        print("Making the mutants, and finding out which tests reach what (10 minutes) ...", flush=True)
        mutmut(SMALLEST)
        chosen = sorted(results())
        if options.sample:
            chosen = random.Random(options.seed).sample(chosen, min(options.sample, len(chosen)))
    print(f"Running the tests of {len(chosen)} mutants, of {len(results())} in all ...", flush=True)
    mutmut(*chosen)
    now = results()
    tell({**first, **{name: code for name in chosen if (code := now[name]) is not None}})
    return 0


def prepare(*, without: tuple[str, ...], keep: bool) -> None:
    """A tree as mutmut wants it. With `keep` only what the tests are is written anew."""
    if not keep:
        shutil.rmtree(TREE, ignore_errors=True)
        shutil.copytree(ROOT / "operator" / "src", TREE / "src")
    for name in NEEDED:
        source = ROOT / name
        copy = shutil.copy if source.is_file() else lambda a, b: shutil.copytree(a, b, dirs_exist_ok=True)
        copy(source, TREE / name)
        if keep:
            copy(source, TREE / "mutants" / name)
    tests = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "tests" / "unit").glob("test_planning_*.py"))
    left_out = [part for each in without for part in ("--deselect", f"tests/unit/test_planning_{each}")]
    settings = {
        "source_paths": ["src"],
        "only_mutate": ["src/scaleset/planning/*.py"],
        "track_dependencies": ["false"],
        "also_copy": list(NEEDED),
        "pytest_add_cli_args": ["-p", "no:xdist", "-p", "no:cacheprovider", *left_out],
        "pytest_add_cli_args_test_selection": tests,
    }
    lines = [f"{key} =\n" + "".join(f"    {value}\n" for value in values) for key, values in settings.items()]
    (TREE / "setup.cfg").write_text("[mutmut]\n" + "".join(lines))


def mutmut(*names: str) -> None:
    """Its own account goes to a file; at low priority, since it takes all cores for hours."""
    command = ["nice", str(ROOT / ".venv" / "bin" / "mutmut"), "run", *names]
    with (TREE / "mutmut.log").open("wb") as log:
        code = subprocess.run(command, cwd=TREE, stdout=log, stderr=subprocess.STDOUT, check=False).returncode
    if code:
        sys.exit(f"mutmut ended with code {code}: see {TREE / 'mutmut.log'}.")


def results() -> dict[str, int | None]:
    """What became of each mutant; None: not tried yet."""
    metas = (TREE / "mutants" / "src" / "scaleset" / "planning").glob("*.meta")
    return {name: code for meta in metas for name, code in json.loads(meta.read_text())["exit_code_by_key"].items()}


def tell(found: Mapping[str, int]) -> None:
    """The share that was killed, its 95 % interval (Wilson), and the names of the rest."""
    outcome = Counter(KILLED.get(code, "survived") for code in found.values())
    total, killed = len(found), outcome["killed"] + outcome["timeout"]
    low, high = interval(killed, total)
    for name in sorted(name for name, code in found.items() if code not in KILLED):
        print(f"survived: {name}")
    share = f"{killed / total:.1%}, 95 % interval {low:.1%} to {high:.1%}"
    print(f"{killed} of {total} killed, {outcome['timeout']} of them by a time limit: {share}.")


def interval(hits: int, total: int, z: float = 1.96) -> tuple[float, float]:
    """Wilson's score interval of a share."""
    share, spread = hits / total, z * z / total
    middle = (share + spread / 2) / (1 + spread)
    half = z / (1 + spread) * math.sqrt(share * (1 - share) / total + spread / (4 * total))
    return middle - half, middle + half


if __name__ == "__main__":
    sys.exit(main())
