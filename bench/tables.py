"""The tables, as headings and rows of text: the terminal and the page show the same ones."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from .contenders import CONTENDERS, DEFAULTS, RAISED, Contender, Ours
from .results import BadImage, Results, Rollout, batches
from .timeline import MILESTONES
from .turns import compared

NOTHING = "–"


@dataclass(frozen=True, slots=True)
class Table:
    """The first column is text, the others are figures."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def markdown(self) -> str:
        rule = ["---", *["---:"] * (len(self.head) - 1)]
        lines = [self.head, rule, *self.rows]
        return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def seconds_table(results: Results) -> Table:
    """Publish → all Ready, every contender in a row, every size and limit in a column."""
    sizes = sorted({each.replicas for each in results.rollouts if each.start == 1})
    head = ["controller", *(f"N={size} {limits}" for size in sizes for limits in (DEFAULTS, RAISED))]
    rows = []
    for contender in _present(results):
        cells = [_seconds(results, contender, limits, size) for size in sizes for limits in (DEFAULTS, RAISED)]
        rows.append((contender.title, *cells))
    pure = " or ".join(str(each) for each in sorted({batches(size) for size in sizes}))
    title = f"Seconds from publishing to all Ready; instances start in 1 s, so {pure} s is the least that is possible"
    return Table(title, tuple(head), tuple(rows))


def cost_table(results: Results, replicas: int) -> Table:
    """What a rollout of that size costs: every contender and limit in a row."""
    head = (
        *("controller", "limits", "overhead s", "most unavailable", "writes an instance", "of them pods"),
        *("CPU s", "memory MiB", "machine busy", "fixed work s"),
    )
    rows = []
    for contender in _present(results):
        for limits in contender.limits:
            row = results.rollout(contender.name, limits, replicas, 1)
            if row is not None and row.seconds is not None:
                rows.append((contender.title, limits, *_costs(row)))
    return Table(f"What it costs, N={replicas}", head, tuple(rows))


def phase_table(results: Results) -> Table:
    """Where the seconds of the largest rollouts went."""
    head = ("controller", "limits", "seconds", "nobody is down", "all that is down only starts", "pods are replaced")
    largest = max((each.replicas for each in results.rollouts), default=0)
    rows = []
    for contender in _present(results):
        for limits in contender.limits:
            row = results.rollout(contender.name, limits, largest, 1)
            if row is None or row.together or row.seconds is None or row.quiet is None or row.starting is None:
                continue
            parts = (row.seconds, row.quiet, row.starting, row.seconds - row.quiet - row.starting)
            rows.append((contender.title, limits, *(f"{part:.1f}" for part in parts)))
    return Table(f"Where the seconds go, N={largest}", head, tuple(rows))


def slow_start_table(results: Results) -> Table:
    """Rollouts of instances that take longer than a second to start."""
    head = ("controller", "limits", "N", "start s", "seconds", "pure start time s", "overhead", "writes an instance")
    rows = []
    for contender in _present(results):
        for row in results.rollouts:
            if row.contender == contender.name and row.start != 1:
                share = NOTHING if row.overhead is None else f"{100 * row.overhead / row.pure:.1f} %"
                total = row.error or f"{row.seconds:.1f}"
                figures = (f"{row.start:g}", total, f"{row.pure:g}", share, f"{row.writes_per_instance:.2f}")
                rows.append((contender.title, row.limits, str(row.replicas), *figures))
    return Table("Instances that take ten seconds to start", head, tuple(rows))


def bad_image_table(results: Results) -> Table:
    """Who exposes how many instances to a bad image, and how it ends."""
    head = (
        "controller",
        "instances exposed",
        "most unavailable",
        "healthy by itself after",
        "a human has to",
        "healthy after that",
    )
    rows = []
    for contender in _present(results):
        row = results.bad_image(contender.name)
        if row is not None:
            rows.append((contender.title, *_recovery(row)))
    sizes = sorted({row.replicas for row in results.bad_images})
    deadline = ", ".join(sorted({f"{row.deadline:g} s" for row in results.bad_images}))
    size = ", ".join(f"N={each}" for each in sizes)
    return Table(f"A bad image, {size}, deadline {deadline}", head, tuple(rows))


def turns_table(results: Results, replicas: int, busy: int) -> Table:
    """Our rollouts as parts of those of others in the same round: each of ours and each other in a row."""
    head = ("compared", "rounds", "seconds", "theirs", "ratio of seconds", "ratio of CPU")
    rows, codes = [], set[str]()
    for one in CONTENDERS:
        ours = results.turns_of(one.name, replicas=replicas, busy=busy)
        codes.update(turn.code for turn in ours)
        for two in CONTENDERS:
            theirs = results.turns_of(two.name, replicas=replicas, busy=busy)
            found = compared(ours, theirs)
            if not isinstance(one, Ours) or isinstance(two, Ours) or found is None:
                continue
            seconds = [f"{median(turn.seconds for turn in turns):.1f}" for turns in (ours, theirs)]
            rounds = len({turn.round for turn in ours} & {turn.round for turn in theirs})
            rows.append((f"{one.title} ÷ {two.title}", str(rounds), *seconds, *map(str, found)))
    beside = f"beside {busy} busy loops" if busy else "on a quiet machine"
    return Table(f"In turns, N={replicas}, {beside} ({', '.join(sorted(codes))})", head, tuple(rows))


def timeline_table(results: Results) -> Table:
    """What happens when in a batch: each milestone in a row, each contender and size in a column."""
    lines = sorted(results.timelines, key=lambda each: each.key)
    titles = {each.name: each.title for each in CONTENDERS}
    head = ("ms since the batch before was Ready", *(f"{titles[each.contender]} N={each.replicas}" for each in lines))
    rows = [
        (name, *(f"{each.milestones[name]:.0f}" if name in each.milestones else NOTHING for each in lines))
        for name in MILESTONES
    ]
    counts = ", ".join(str(each.batches) for each in lines)
    codes = ", ".join(sorted({each.code for each in lines}))
    return Table(f"Where the milliseconds of a batch go, medians of {counts} batches ({codes})", head, tuple(rows))


def all_tables(results: Results) -> list[Table]:
    """Those that have rows."""
    sizes = sorted({each.replicas for each in results.rollouts if each.start == 1})
    tables = [
        seconds_table(results),
        *(cost_table(results, size) for size in sizes),
        *(turns_table(results, size, busy) for size, busy in sorted({each.key[1:3] for each in results.turns})),
        *([timeline_table(results)] if results.timelines else []),
        phase_table(results),
        slow_start_table(results),
        bad_image_table(results),
    ]
    return [table for table in tables if table.rows]


def _present(results: Results) -> Sequence[Contender]:
    names = {each.contender for each in results.rollouts} | {each.contender for each in results.bad_images}
    return [each for each in CONTENDERS if each.name in names]


def _seconds(results: Results, contender: Contender, limits: str, size: int) -> str:
    if limits not in contender.limits:
        return NOTHING
    row = results.rollout(contender.name, limits, size, 1)
    if row is None:
        return NOTHING
    if row.seconds is None:
        return f"failed: {row.error}"
    return f"{row.seconds:.1f}{'*' if row.together else ''}"


def _costs(row: Rollout) -> tuple[str, ...]:
    """Nobody replaces instances without a write: where none is known, the audit log was lost."""
    pods = sum(number for resource, number in row.writes.items() if resource.split("/")[0] == "pods")
    return (
        f"{row.overhead:.1f}{'*' if row.together else ''}",
        f"{row.most_unavailable} ({100 * row.most_unavailable / row.replicas:.0f} %)",
        f"{row.writes_per_instance:.2f}" if row.writes else NOTHING,
        f"{pods / row.replicas:.2f}" if row.writes else NOTHING,
        f"{row.cpu:.1f}",
        f"{row.memory:.0f}",
        f"{100 * row.machine:.0f} %",
        NOTHING if row.fixed_work is None else f"{row.fixed_work:.2f}",
    )


def _recovery(row: BadImage) -> tuple[str, ...]:
    if row.error:
        return (f"failed: {row.error}", *[NOTHING] * 4)
    exposed = f"{row.exposed} ({100 * row.exposed / row.replicas:.0f} %)"
    if row.alone is not None:
        return (exposed, str(row.most_unavailable), f"{row.alone:.1f} s", "nothing", NOTHING)
    helped = NOTHING if row.helped is None else f"{row.helped:.1f} s"
    return (exposed, str(row.most_unavailable), f"never (waited {row.patience:g} s)", row.human, helped)
