"""All rules on one trace.

S1, S5, S6, S11 and S12 are those of tests/cluster/harness; here are the ones that need the lives of pods. Those of the
harness that read our status (S3, S4, S14) are kept as well: two judges are better than one, and only the ones here
count as independent.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from tests.cluster.harness import invariants, status_invariants, write_invariants
from tests.cluster.harness.api import Json
from tests.cluster.harness.trace import RELABELLED, Seen, Trace

from . import in_place, rollouts, writers
from .changes import Changes, changes, metadata_of
from .replay import Replay

Rule = Callable[[Replay, float], Iterator[str]]

RULES: Mapping[str, Rule] = {
    "S1 in place": in_place.s1_one_batch,
    "S2 gate": rollouts.s2_gate,
    "S2 written ahead": rollouts.s2_written_ahead,
    "S3 breach": rollouts.s3_nothing_after_a_breach,
    "S4 one target": rollouts.s4_one_target,
    "S4 healing": rollouts.s4_healing_keeps_the_build,
    "S4 model": in_place.s4_the_model_is_as_it_says,
    "S7 ours": writers.s7_only_our_pods,
    "S8 eligible": rollouts.s8_only_eligible_versions,
    "S9": rollouts.s9_nothing_for_nothing,
    "S10": rollouts.s10_restores_in_time,
    "S11 method": in_place.s11_only_where_it_was_asked_for,
    "S13": writers.s13_within_a_term,
}
SHARED = (*invariants.RULES.items(), *write_invariants.RULES.items(), *status_invariants.RULES.items())
PROMISES = tuple(f"S{number}" for number in range(1, 15))


@dataclass(frozen=True, slots=True)
class Settings:
    """`slack`: seconds between what happens and what an operator behind a slow network can know of it. `exempt`: rules,
    or whole promises, that a test breaks on purpose, each with its reason.
    """

    slack: float = 4.0
    exempt: Mapping[str, str] | None = None


def violations(trace: Trace, settings: Settings | None = None) -> list[str]:
    """A sentence for each promise that was not kept."""
    settings = settings or Settings()
    exempt = settings.exempt or {}
    changed = changes(trace)
    trace = _as_labelled_by_us(trace, changed)
    found: list[str] = []
    for name, shared in SHARED:
        if name not in exempt and name.split()[0] not in exempt:
            found += [f"{name}: {violation}" for violation in shared(trace)]
    replay = Replay(trace, changed, slack=settings.slack)
    for name, rule in RULES.items():
        if name not in exempt and name.split()[0] not in exempt:
            found += [f"{name}: {violation}" for violation in rule(replay, settings.slack)]
    return found


def _as_labelled_by_us(trace: Trace, changed: Changes) -> Trace:
    """Users may relabel pods: each is told by the labels that its creation gave it, or a change in place."""
    labels: dict[str, Json] = {}

    def told(seen: Seen) -> Seen:
        if seen.kind != "pods":
            return seen
        metadata = seen.object["metadata"]
        mine = metadata.get("labels") or {}
        known = labels.setdefault(seen.uid, mine)
        if (change := changed.get((seen.uid, seen.order))) is not None:
            known = labels[seen.uid] = {**known, **(metadata_of(change).get("labels") or {})}
        if lost := [key for key, value in known.items() if mine.get(key) != value]:
            known = {**known, RELABELLED: " ".join(lost)}
        return seen._replace(object={**seen.object, "metadata": {**metadata, "labels": known}})

    return replace(trace, seen=tuple(told(seen) for seen in trace.seen))
