"""Changes planner/ in thousands of small ways, one at a time, and asks the unit tests whether they notice.

python -m hack.mutation                                all mutants: some eight hours on two cores
python -m hack.mutation --sample 600 --seed 8          that many, drawn over all modules; the same ones for a seed
python -m hack.mutation 'scaleset.planner.surge.*'    those of that name
python -m hack.mutation --again                        those that survived, in sessions of their own, and with LONG

mutmut makes the mutants and finds out which tests reach what, on a copy in .work/mutation, since it expects a package
in src/. hack.mutation.runner runs them, and pays for itself: the same 60 mutants took it 125 s, and `mutmut run` 426 s.
`cd .work/mutation && ../../.venv/bin/mutmut show NAME` shows one.
"""

import argparse
import json
import math
import random
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path

ROOT = Path(__file__).parents[2]
TREE = ROOT / ".work" / "mutation"
TASKS = TREE / "mutants" / "tasks.json"
VERDICTS = TASKS.with_suffix(".verdicts")
NEEDED = ("crds", "deploy", "docs", "hack", "pyproject.toml", "README.md", "tests")
CONTROL, SHORTEST = "no mutant", "tests/unit/planner/test_ranges.py"
"""What must pass all tests, or no verdict means anything."""
SMALLEST = "scaleset.planner.ranges.x_render__mutmut_1"
TESTS = ("planner/test_*.py", "observability/test_metrics_fleet.py", "observability/test_metrics_shown.py")
"""Those of observability are about planner/changes.py and the figures of the planner."""
LONG = (
    "tests/unit/planner/test_chaos.py::test_in_the_end_all_is_well",
    "tests/unit/planner/test_chaos.py::test_surge_never_has_fewer_healthy_ones_whenever_it_is_killed",
    "tests/unit/planner/test_status_codec.py::test_no_forgery_of_a_running_rollout_takes_down_more_than_a_batch",
    "tests/unit/planner/test_status_codec.py::test_no_json_as_status_stops_a_decision",
    "tests/unit/planner/test_replication_courses.py::test_whatever_happens_it_ends_with_the_image_everywhere_and_no_pod",
    "tests/unit/planner/test_status.py::test_the_status_stays_below_100_kb_at_1000_instances_at_its_worst",
    "tests/unit/planner/test_scaling.py::test_any_sequence_of_sizes_ends_at_the_last_one",
    "tests/unit/planner/test_triggers.py::test_a_run_that_the_gate_ended_is_tried_again_with_growing_delays",
    "tests/unit/planner/test_surge.py::test_killed_after_any_single_write_it_goes_on",
    "tests/unit/planner/test_worlds.py::TestAnyWorld::runTest",
    "tests/exploration/test_golden.py::test_a_rollout_goes_as_its_log_says",
    "tests/exploration/test_promises.py::test_scaling_in_never_has_more_than_a_batch_terminating",
    "tests/exploration/test_stories.py::test_whatever_happens_it_ends_well",
)
"""They take far longer than all others: left out until only survivors are asked again."""
TIMED = "tests/unit/planner/test_status.py::test_a_decision_about_1000_instances_takes_milliseconds"
"""It measures time, and mutants are slow."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m hack.mutation", description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="which mutants, * for any letters; default: all")
    parser.add_argument("--sample", type=int, default=0, help="how many of them; default: all")
    parser.add_argument("--seed", type=int, default=1, help="which ones (default: 1)")
    parser.add_argument("--again", action="store_true", help="only those that survived, more thoroughly")
    options = parser.parse_args()
    if options.again:
        before = verdicts()
        survivors = [name for name, verdict in before.items() if verdict == "survived"]
        if not survivors:
            sys.exit("No survivors to ask again: run it without --again first.")
        reaching = {CONTROL: [SHORTEST], **tests_of(survivors)}
        run([(name, [*tests, *LONG]) for name, tests in reaching.items()], anew=True)
        found = verdicts()
        if found.pop(CONTROL) != "survived":
            sys.exit(f"The tests fail without any mutant: see {TREE / 'log'}.")
        tell({**before, **found})
        return 0
    prepare()
    print("Making the mutants, and finding out which tests reach what (some minutes) ...", flush=True)
    mutmut(SMALLEST)
    chosen = sorted(name for name in mutants() if any(fnmatchcase(name, each) for each in options.names or "*"))
    if not chosen:
        sys.exit(f"No mutant has that name. Names are like {SMALLEST}.")
    if options.sample:
        chosen = random.Random(options.seed).sample(chosen, min(options.sample, len(chosen)))
    reaching = tests_of(chosen)
    run((name, tests) for name, tests in reaching.items() if tests)
    tell(dict.fromkeys(chosen, "not reached") | verdicts())
    return 0


def prepare() -> None:
    """A tree as mutmut wants it."""
    for test in (*LONG, TIMED):
        path, *_, name = test.split("::")
        if name != "runTest" and f"def {name}(" not in (ROOT / path).read_text():
            sys.exit(f"hack/mutation names {test}, which is not there any more: write its new name.")
    shutil.rmtree(TREE, ignore_errors=True)
    shutil.copytree(ROOT / "operator" / "src", TREE / "src")
    for name in NEEDED:
        source = ROOT / name
        if source.is_file():
            shutil.copy(source, TREE / name)
        else:
            shutil.copytree(source, TREE / name)
    found = sorted(path for pattern in TESTS for path in (TREE / "tests" / "unit").glob(pattern))
    left_out = [part for test in (*LONG, TIMED) for part in ("--deselect", test)]
    settings = {
        "source_paths": ["src"],
        "only_mutate": ["src/scaleset/planner/*.py"],
        "track_dependencies": ["false"],
        "also_copy": list(NEEDED),
        "pytest_add_cli_args": ["-p", "no:xdist", "-p", "no:cacheprovider", *left_out],
        "pytest_add_cli_args_test_selection": [path.relative_to(TREE).as_posix() for path in found],
    }
    lines = [f"{key} =\n" + "".join(f"    {value}\n" for value in values) for key, values in settings.items()]
    (TREE / "setup.cfg").write_text("[mutmut]\n" + "".join(lines))


def mutmut(*names: str) -> None:
    """Makes all mutants, and runs the tests of these."""
    _start([str(ROOT / ".venv" / "bin" / "mutmut"), "run", *names], TREE)


def run(tasks: Iterable[tuple[str, list[str]]], *, anew: bool = False) -> None:
    """Runs these tests for these mutants, `anew` in a session of its own each; the verdicts are in a file then."""
    listed = list(tasks)
    print(f"Running the tests of {len(listed)} mutants, of {len(mutants())} in all ...", flush=True)
    TASKS.write_text(json.dumps(listed))
    VERDICTS.unlink(missing_ok=True)
    how = ["--anew"] if anew else []
    _start([sys.executable, "-m", "hack.mutation.runner", *how, str(TASKS)], TREE / "mutants")


def _start(command: list[str], folder: Path) -> None:
    """At low priority: it takes all cores for long."""
    with (TREE / "log").open("wb") as log:
        code = subprocess.run(
            ["nice", *command], cwd=folder, stdout=log, stderr=subprocess.STDOUT, check=False
        ).returncode
    if code:
        sys.exit(f"{Path(command[0]).name} ended with code {code}: see {TREE / 'log'}.")


def mutants() -> list[str]:
    """The names of all."""
    metas = (TREE / "mutants" / "src" / "scaleset" / "planner").glob("*.meta")
    return [name for meta in metas for name in json.loads(meta.read_text())["exit_code_by_key"]]


def tests_of(names: list[str]) -> dict[str, list[str]]:
    """The tests that reach a mutant's function: those named after its module first, and the fastest first."""
    stats = json.loads((TREE / "mutants" / "mutmut-stats.json").read_text())
    seconds, reaching = stats["duration_by_test"], stats["tests_by_mangled_function_name"]
    found: dict[str, list[str]] = {}
    for name in names:
        own = f"planner/test_{name.split('.')[2]}.py"
        order = {test: (own not in test, seconds.get(test, 0.0)) for test in sorted(reaching.get(_function(name), []))}
        found[name] = sorted(order, key=order.__getitem__)
    return found


def _function(mutant: str) -> str:
    return mutant.rpartition("__mutmut_")[0]


def verdicts() -> dict[str, str]:
    """What became of each mutant of the last run."""
    if not VERDICTS.exists():
        return {}
    return dict(json.loads(line) for line in VERDICTS.read_text().splitlines())


def tell(found: Mapping[str, str]) -> None:
    """The share that was killed, its 95 % interval (Wilson), and the names of the rest."""
    outcome = Counter(found.values())
    total, killed = len(found), outcome["killed"] + outcome["timeout"]
    low, high = interval(killed, total)
    for name, verdict in sorted(found.items()):
        if verdict not in ("killed", "timeout"):
            print(f"{verdict}: {name}")
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
