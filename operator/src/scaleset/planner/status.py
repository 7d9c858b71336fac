"""The whole status after a decision: the durable state, counts, versions, rows and conditions."""

from collections import Counter
from typing import Any

from scaleset.api import names
from scaleset.api.scale_set_status import ScaleSetStatus
from scaleset.planner import status_codec
from scaleset.planner.conditions import conditions
from scaleset.planner.facts import Facts
from scaleset.planner.gallery import is_number, number, spellings
from scaleset.planner.instances import Instance
from scaleset.planner.pod_diff import Diff
from scaleset.planner.rows import count, rows

MAX_VERSIONS = 4
_ABSENT = dict.fromkeys(ScaleSetStatus().model_dump(by_alias=True))


def status(facts: Facts, diff: Diff) -> dict[str, Any]:
    """The whole status after this decision; `diff` holds the changes of pods in this decision. It has every field:
    absent ones are None, so that a merge patch removes them.
    """
    snapshot = facts.snapshot
    counts = count(facts)
    wanted = {
        "observedGeneration": snapshot.generation,
        "replicas": counts.existing,
        "healthyReplicas": counts.healthy,
        "updatedReplicas": counts.updated,
        "selector": f"{names.LABEL_NAME}={snapshot.owner.name}",
        "latestVersion": facts.latest,
        "targetVersion": facts.wanted.version if facts.wanted is not None else None,
        "versions": _versions(facts) or None,
        **status_codec.write(facts.state, location=facts.asker.region),
        "instances": rows(facts),
        "conditions": conditions(facts, counts, diff),
    }
    present = {name: value for name, value in wanted.items() if value is not None}
    # Cut to the limits of the CRD: a refused status would stop everything, since it is written first.
    return {**_ABSENT, **ScaleSetStatus.model_validate(present).to_raw()}


def _versions(facts: Facts) -> str:
    """The versions that the instances run: a single one, or all, the most frequent first."""
    texts = Counter(version for i in facts.instances.values() if (version := _runs(i)) and is_number(version))
    shown_as = spellings(version for version, _ in texts.most_common())
    ran: Counter[str] = Counter()
    for version, instances in texts.items():
        ran[shown_as[version]] += instances
    ranked = sorted(ran.items(), key=lambda item: (item[1], number(item[0])), reverse=True)
    if len(ranked) == 1:
        return ranked[0][0]
    shown = [f"{version} ({count})" for version, count in ranked[:MAX_VERSIONS]]
    return ", ".join(shown) + (f", {len(ranked) - MAX_VERSIONS} more" if len(ranked) > MAX_VERSIONS else "")


def _runs(instance: Instance) -> str:
    ran = instance.pod or instance.build
    return ran.version if ran is not None else ""
