"""`make bench`: how fast, how cheap and how safe rollouts are, ours and those of others, on one cluster in one run."""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from time import monotonic

from rich.console import Console
from rich.table import Table as RichTable

from tests.cluster.harness.cluster import ROOT, Cluster
from tests.cluster.harness.trace import AuditLog

from . import plan, surroundings, turns
from .contenders import BUILT_IN, CONTENDERS, DEADLINE_SECONDS, DEFAULTS, FEATURE_GATES, Contender, Ours, chosen
from .measure import Site, Trial
from .page import write_page
from .plan import BAD_IMAGE_SIZE, SIZES, Step, rounds
from .results import BadImage, Results, Rollout, Row
from .tables import Table, all_tables
from .timeline import Timeline, timeline
from .turns import Turn

KEPT = ROOT / ".work" / "bench" / "results.json"
FINAL = ROOT / "bench" / "results.json"

Work = tuple[int, Callable[["Run"], None]]
"""How many rows there are to be measured, and what measures them."""


class Run:
    """A run on a cluster: every row is said and saved as soon as it is there."""

    def __init__(self, site: Site, results: Results, *, rows: int, kept: Path) -> None:
        self._site, self._results, self._rows, self._kept = site, results, rows, kept
        self._done = 0
        self._began = monotonic()

    def rollouts(self, step: Step) -> None:
        trials = [
            Trial(self._site, each.contender, each.replicas, start=step.start, purpose=_purpose(step))
            for each in step.entries
        ]
        names = ", ".join(f"{each.contender.title} N={each.replicas}" for each in step.entries)
        self._say(f"setting up {names}")
        ready = self._each(trials, Trial.set_up, lambda trial, error: self._failed(trial, step, error))
        for limits in step.limits:
            suffix = ", at the same time" if step.together else ""
            self._say(f"{limits}, start {step.start:g} s: {names}{suffix}")

            speed = surroundings.fixed_work()

            def roll(trial: Trial, limits: str = limits, speed: float = speed) -> None:
                self._add(replace(trial.roll(limits, together=step.together), fixed_work=speed))

            one = replace(step, limits=(limits,))
            self._each(ready, roll, lambda trial, error, one=one: self._failed(trial, one, error))  # type: ignore[misc]
        self._each(trials, Trial.clean, lambda trial, error: self._say(f"{trial.namespace}: {error}"))

    def bad_images(self, contenders: Sequence[Contender]) -> None:
        """Several at the same time: what counts are deadlines, not work."""
        trials = [Trial(self._site, each, BAD_IMAGE_SIZE, purpose="bad") for each in contenders]

        def failed(trial: Trial, error: Exception) -> None:
            self._add(BadImage(trial.contender.name, trial.replicas, DEADLINE_SECONDS, error=_sentence(error)))

        self._say(f"a bad image, N={BAD_IMAGE_SIZE}: setting up {len(trials)} fleets")
        ready = self._each(trials, Trial.set_up, failed)
        self._say("a bad image: published to all of them; this takes up to two minutes")
        self._each(ready, lambda trial: self._add(trial.break_image()), failed)
        self._each(trials, Trial.clean, lambda trial, error: self._say(f"{trial.namespace}: {error}"))

    def turns(self, contenders: Sequence[Contender], replicas: int, *, rounds: Sequence[int], busy: int) -> None:
        """All fleets are set up at first: a round is one rollout of each, one right after the other."""
        code = self._results.about["versions"]["scaleset-operator"]
        trials = {each.name: Trial(self._site, each, replicas, purpose="turns") for each in contenders}
        self._say(f"setting up {len(trials)} fleets of {replicas}")
        for trial in trials.values():
            trial.set_up()
        for number in rounds:
            self._say(f"round {number} of {rounds[-1]}, N={replicas}, {busy} busy loops beside it")
            for contender in contenders:
                limits = turns.limits_of(contender)
                with turns.busy(busy):
                    row = trials[contender.name].roll(limits)
                if row.seconds is None:
                    raise RuntimeError(f"{contender.title} has no time")
                turn = Turn(contender.name, limits, replicas, busy, number, code=code, seconds=row.seconds, cpu=row.cpu)
                self._add(turn)
        for trial in trials.values():
            trial.clean()

    def timeline(self, contender: Contender, replicas: int, *, rollouts: int) -> None:
        """Some rollouts of one contender, for what the audit log says of their batches."""
        trial = Trial(self._site, contender, replicas, purpose="timeline")
        self._say(f"setting up {contender.title} N={replicas}, for the audit log of {rollouts} rollouts")
        trial.set_up()
        written = []
        for _ in range(rollouts):
            audit = AuditLog(self._site.cluster.audit_log)
            trial.roll(turns.limits_of(contender))
            written.append(audit.writes("", trial.namespace))
        code = self._results.about["versions"]["scaleset-operator"]
        agent = contender.agents[0]
        self._add(timeline(contender.name, replicas, code=code, agent=agent, rollouts=written))
        trial.clean()

    def _each(
        self,
        trials: Sequence[Trial],
        action: Callable[[Trial], None],
        failed: Callable[[Trial, Exception], None],
    ) -> list[Trial]:
        """Does it with all of them at once; returns those with which it went well."""

        def attempt(trial: Trial) -> Trial | None:
            try:
                action(trial)
            except Exception as error:  # noqa: BLE001 -- whatever it was, the other rows go on
                failed(trial, error)
                return None
            return trial

        if len(trials) < 2:
            return [each for each in map(attempt, trials) if each is not None]
        with ThreadPoolExecutor(len(trials)) as pool:
            try:
                return [each for each in pool.map(attempt, trials) if each is not None]
            except BaseException:  # Ctrl-C: nobody waits for what will not come any more
                for trial in trials:
                    trial.stop()
                raise

    def _failed(self, trial: Trial, step: Step, error: Exception) -> None:
        for limits in step.limits:
            row = Rollout(trial.contender.name, limits, trial.replicas, step.start, error=_sentence(error))
            self._add(row)

    def _add(self, row: Row) -> None:
        self._done += 1
        self._results.add(row)
        self._results.save(self._kept)
        self._say(f"  {self._done}/{self._rows} {_summary(row)}")

    def _say(self, line: str) -> None:
        passed = int(monotonic() - self._began)
        print(f"{passed // 60:2d}:{passed % 60:02d} {line}", flush=True)


def main(arguments: Sequence[str]) -> int:
    """Returns the exit code: 1 when a row failed, 2 when it cannot begin."""
    options = _parser().parse_args(arguments)
    try:
        contenders, sizes = chosen(options.only), _sizes(options.sizes)
        if options.render:
            write_page(Results.load(FINAL))
            return 0
        results = Results.load(options.rows) if options.resume and options.rows.exists() else Results(about={})
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    scripts = [ROOT / "hack" / "cluster" / "build.sh"]
    if any(each.module for each in contenders):
        scripts.append(ROOT / "bench" / "peers.sh")
    folders = [_folder(script) for script in scripts]
    if not all(folders):
        return 2  # the script said why
    binaries, peers = Path(folders[0]), Path(folders[-1])
    about = surroundings.about()
    if results.about and results.about["versions"] != about["versions"]:
        print(f"The rows in {options.rows} are of other versions: run without --resume.", file=sys.stderr)
        return 2
    results.about = about
    work = _turns if options.turns else _timelines if options.timeline else _rollouts
    rows, carry_out = work(results, contenders, sizes, options)
    try:
        if rows:
            with _cluster(binaries, peers, all_requests=bool(options.timeline)) as site:
                carry_out(Run(site, results, rows=rows, kept=options.rows))
    except KeyboardInterrupt:
        print("Interrupted; --resume goes on from here.", file=sys.stderr)
        return 130
    _show(results)
    whole = contenders == CONTENDERS and sizes == SIZES and not options.no_bad_image
    if (options.turns or options.timeline) and options.keep:
        _publish(Results.load(FINAL).with_turns_of(results))
    elif whole and not (options.turns or options.timeline):
        _publish(results.with_turns_of(Results.load(FINAL)))
    else:
        print(f"docs/performance.md stays as it is; the rows are in {options.rows}.")
    failed = [each.error for each in results.rollouts] + [each.error for each in results.bad_images]
    return 1 if any(failed) else 0


@contextmanager
def _cluster(binaries: Path, peers: Path, *, all_requests: bool) -> Iterator[Site]:
    options = ["--feature-gates", FEATURE_GATES, "--without-controllers", ",".join(BUILT_IN)]
    if all_requests:
        options += ["--audit-policy", str(ROOT / "bench" / "audit-policy.yaml")]
    with (
        tempfile.TemporaryDirectory(prefix="scaleset-bench-") as folder,
        Cluster(f"bench-{os.getpid()}", Path(folder), options=options) as cluster,
    ):
        print(f"Logs of the controllers: {folder} (until the end of this run)", flush=True)
        surroundings.prepare(cluster.api, peers)
        yield Site(cluster, binaries, peers, Path(folder))


def _rollouts(
    results: Results, contenders: Sequence[Contender], sizes: Sequence[int], options: argparse.Namespace
) -> Work:
    """Each rollout once, and the bad images."""
    steps = plan.rollouts(contenders, sizes, one_by_one=options.one_by_one)
    steps = [each for step in steps if (each := plan.left(step, results)) is not None]
    bad = [each for each in contenders if (row := results.bad_image(each.name)) is None or row.error]
    if options.no_bad_image:
        bad = []

    def carry_out(run: Run) -> None:
        for step in steps:
            run.rollouts(step)
        for those in rounds(bad):
            run.bad_images(those)

    return sum(step.rows for step in steps) + len(bad), carry_out


def _turns(
    results: Results, contenders: Sequence[Contender], sizes: Sequence[int], options: argparse.Namespace
) -> Work:
    """The same rollouts again and again, in turns."""
    those = [each for each in contenders if not each.one_by_one]
    busy = options.busy
    left = {size: plan.rounds_left(those, size, results, rounds=options.turns, busy=busy) for size in sizes}

    def carry_out(run: Run) -> None:
        for size, numbers in left.items():
            if numbers:
                run.turns(those, size, rounds=numbers, busy=busy)

    return sum(map(len, left.values())) * len(those), carry_out


def _timelines(
    results: Results, contenders: Sequence[Contender], sizes: Sequence[int], options: argparse.Namespace
) -> Work:
    """What the audit log says of the batches of those that have batches: ours."""
    known = {each.key for each in results.timelines}
    left = [
        (each, size)
        for size in sizes
        for each in contenders
        if isinstance(each, Ours) and (each.name, size) not in known
    ]

    def carry_out(run: Run) -> None:
        for contender, size in left:
            run.timeline(contender, size, rollouts=options.timeline)

    return len(left), carry_out


def _publish(results: Results) -> None:
    results.save(FINAL)
    write_page(Results.load(FINAL))  # As it is kept, with three digits: --render makes the same page.
    print(f"Written: {FINAL.relative_to(ROOT)}, docs/performance.md and its charts.")


def _show(results: Results) -> None:
    console = Console(width=None if sys.stdout.isatty() else 180)
    for table in all_tables(results):
        console.print(_rich(table))
    print("* at the same time as the others with that mark")
    print(json.dumps(results.about, indent=1, ensure_ascii=False))


def _rich(table: Table) -> RichTable:
    shown = RichTable(title=table.title, title_justify="left")
    for number, name in enumerate(table.head):
        shown.add_column(name, justify="left" if number == 0 else "right")
    for row in table.rows:
        shown.add_row(*row)
    return shown


def _summary(row: Row) -> str:
    title = next(each.title for each in CONTENDERS if each.name == row.contender)
    if isinstance(row, Timeline):
        return f"{title}, N={row.replicas}: {row.milestones.get('the last is Ready', 0):.0f} ms a batch"
    if isinstance(row, Turn):
        return f"{title}, {row.limits}, N={row.replicas}: {row.seconds:.1f} s, {row.cpu:.1f} s CPU"
    if row.error:
        return f"{title}: {row.error}"
    if isinstance(row, BadImage):
        alone = (
            f"healthy by itself after {row.alone:.1f} s" if row.alone is not None else f"needed a human: {row.human}"
        )
        return f"{title}: instances that had the bad image: {row.exposed}; {alone}"
    return (
        f"{title}, {row.limits}, N={row.replicas}: {row.seconds:.1f} s, {row.overhead:.1f} s of them overhead, "
        f"{row.writes_per_instance:.2f} writes an instance, {row.cpu:.1f} s CPU, {row.memory:.0f} MiB"
    )


def _purpose(step: Step) -> str:
    return "together" if step.together else "" if step.start == 1 else "slow"


def _sentence(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__


def _sizes(text: str) -> tuple[int, ...]:
    try:
        sizes = tuple(sorted({int(each) for each in text.split(",")}))
    except ValueError:
        sizes = ()
    if not sizes or not all(5 <= each <= 1000 for each in sizes):
        raise ValueError(f"--sizes takes numbers of instances from 5 to 1000, separated by commas, not {text!r}.")
    return sizes


def _folder(script: Path) -> str:
    """What a build script prints: the folder of the programs; nothing when it failed."""
    done = subprocess.run([script], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make bench ARGS=...", description=__doc__)
    names = ", ".join(each.name for each in CONTENDERS)
    parser.add_argument("--only", default="", metavar="NAMES", help=f"some of {names}; a first word means all with it")
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)), metavar="N,...", help="default: %(default)s")
    parser.add_argument("--no-bad-image", action="store_true", help="leave the bad image out")
    parser.add_argument("--resume", action="store_true", help="keep the rows of the last run that did not fail")
    parser.add_argument("--rows", type=Path, default=KEPT, metavar="PATH", help="where rows are kept as they come")
    parser.add_argument(
        "--one-by-one",
        action="store_true",
        help=f"never two at a time; by default large rollouts with {DEFAULTS} run together (takes 15 minutes more)",
    )
    parser.add_argument("--turns", type=int, default=0, metavar="ROUNDS", help="so many rounds of one rollout of each")
    parser.add_argument("--timeline", type=int, default=0, metavar="ROLLOUTS", help="what happens when in our batches")
    parser.add_argument("--busy", type=int, default=0, metavar="N", help="so many busy loops beside each turn")
    parser.add_argument("--keep", action="store_true", help="put the turns or timelines into docs/performance.md")
    parser.add_argument("--render", action="store_true", help="measure nothing, write the page from bench/results.json")
    return parser


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the controllers end, too
    sys.exit(main(sys.argv[1:]))
