"""Five numbers: is anything rolling, is anything wrong."""

from grafana_foundation_sdk.builders import stat
from grafana_foundation_sdk.builders.common import ReduceDataOptions
from grafana_foundation_sdk.models.common import BigValueColorMode, BigValueGraphMode

from hack.monitoring.dashboard.panels import (
    BAD,
    BUSY,
    BY_SET,
    GOOD,
    OFF,
    SCALE_SET,
    WAITING,
    Panel,
    begin,
    metric,
    ranged,
    thresholds,
)

WIDTHS = (4, 5, 5, 5, 5)


def panels() -> list[Panel]:
    """From what is to what is wrong."""
    healthy = metric("scaleset_instances", *SCALE_SET, 'health="Healthy"')
    rolling = metric("scaleset_rollout_in_progress", *SCALE_SET)
    faulted = metric("scaleset_rollouts_total", *SCALE_SET, 'result="faulted"')
    behind = metric("scaleset_image_versions_behind", *SCALE_SET)
    existing = metric("scaleset_instances", *SCALE_SET)
    texts = [
        ("ScaleSets", "Sets that the operator looks after.", f"count(max {BY_SET} (scaleset_spec_replicas{_sets()}))"),
        ("Rollouts running", "Sets in which a rollout runs now.", f"sum(max {BY_SET} ({rolling}))"),
        (
            "Faulted in 24 hours",
            "Rollouts that were stopped because a health limit of their policy was exceeded.",
            f"round(sum(increase({faulted}[24h])))",
        ),
        (
            "Unhealthy instances",
            "Instances that are not Healthy, those that are just starting included.",
            f"sum({existing}) - (sum({healthy}) or vector(0))",
        ),
        (
            "Sets behind",
            "Sets with an instance that runs an older image version than the newest eligible one.",
            f"sum(max {BY_SET} ({behind}) > bool 0)",
        ),
    ]
    colors = (
        thresholds(OFF),
        thresholds(OFF, (1, BUSY)),
        thresholds(GOOD, (1, BAD)),
        thresholds(GOOD, (1, WAITING)),
        thresholds(GOOD, (1, WAITING)),
    )
    found: list[Panel] = []
    for (title, description, expression), color, width in zip(texts, colors, WIDTHS, strict=True):
        panel = begin(stat.Panel(), title, unit="short", width=width, height=4)
        panel.description(description)
        panel.thresholds(color).decimals(0).graph_mode(BigValueGraphMode.AREA).color_mode(BigValueColorMode.VALUE)
        panel.reduce_options(ReduceDataOptions().calcs(["lastNotNull"]).values(values=False))
        found.append(panel.with_target(ranged(expression, title)))
    return found


def _sets() -> str:
    return metric("", *SCALE_SET)
