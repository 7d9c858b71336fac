"""The rollout of the sets that are chosen above: how far, how long still, what it waits for, what went wrong."""

from grafana_foundation_sdk.builders import gauge, heatmap, stat, statetimeline, timeseries
from grafana_foundation_sdk.builders.common import ReduceDataOptions, StackingConfig
from grafana_foundation_sdk.models.common import (
    BigValueColorMode,
    BigValueGraphMode,
    GraphDrawStyle,
    StackingMode,
    VisibilityMode,
)
from grafana_foundation_sdk.models.dashboard import ValueMap, ValueMappingResult
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from hack.monitoring.dashboard.panels import (
    BUSY,
    BY_SET,
    JOB,
    OFF,
    SCALE_SET,
    STATES,
    WAITING,
    Panel,
    begin,
    fixed,
    instant,
    legend,
    metric,
    progress,
    ranged,
    thresholds,
)

NAME = "{{namespace}}/{{scaleset}}"


def panels() -> list[Panel]:
    """Now, then over time, then how long things take."""
    return [_progress(), _batch(), _times(), _restores(), _instances(), _blocked(), _heatmap(), _quantiles()]


def _progress() -> Panel:
    panel = begin(gauge.Panel(), "Progress", unit="percentunit", width=6, height=6)
    panel.description("Instances that run the target and are healthy, of all instances of the current or last rollout.")
    panel.min(0).max(1).thresholds(thresholds(BUSY, (1, "green")))
    return panel.with_target(instant(progress(), NAME))


def _batch() -> Panel:
    panel = _stat("Batch", "The batch that runs or ran last, and how many there are as planned now.", "short", 6)
    for ref, name, text in (("A", "scaleset_rollout_batch", "batch"), ("B", "scaleset_rollout_batches", "of")):
        panel.with_target(instant(f"max {BY_SET} ({metric(name, *SCALE_SET)})", f"{NAME} {text}", ref))
    return panel


def _times() -> Panel:
    panel = _stat(
        "Elapsed and remaining",
        "Time since the start of the rollout that runs, and the same pace carried on to its end; empty when none runs.",
        "dtdurations",
        6,
    )
    running = f"max {BY_SET} ({metric('scaleset_rollout_in_progress', *SCALE_SET)}) == 1"
    started = f"max {BY_SET} ({metric('scaleset_rollout_start_timestamp_seconds', *SCALE_SET)})"
    elapsed = f"time() - ({started})"
    panel.no_value("no rollout runs")
    panel.with_target(instant(f"{elapsed} and on (namespace, scaleset) ({running})", f"{NAME} elapsed"))
    left = f"({elapsed}) * (1 / ({progress()} > 0) - 1)"
    return panel.with_target(instant(f"{left} and on (namespace, scaleset) ({running})", f"{NAME} remaining", "B"))


def _restores() -> Panel:
    panel = _stat("Restores", "Instances that got their previous version back, within the time range.", "short", 6)
    panel.thresholds(thresholds(OFF, (1, WAITING))).decimals(0)
    restores = metric("scaleset_instance_restores_total", *SCALE_SET)
    return panel.with_target(instant(f"round(sum by (result) (increase({restores}[$__range])))", "{{result}}"))


def _instances() -> Panel:
    panel = begin(timeseries.Panel(), "Instances of the rollout", unit="short", width=12, height=9)
    panel.description(
        "Where the instances of the current or last rollout are. Restored ones run their previous version again."
    )
    panel.draw_style(GraphDrawStyle.BARS).fill_opacity(80).line_width(0).min(0).decimals(0).legend(legend())
    panel.stacking(StackingConfig().mode(StackingMode.NORMAL))
    for state, color in STATES.items():
        panel.override_by_name(state, fixed(color))
    return panel.with_target(
        ranged(f"sum by (state) ({metric('scaleset_rollout_instances', *SCALE_SET)})", "{{state}}")
    )


def _blocked() -> Panel:
    panel = begin(statetimeline.Panel(), "Blocked by", unit="none", width=12, height=9)
    panel.description("Why a rollout does not start or admits no further batch.")
    names = {"0": ValueMappingResult(text="no", color=OFF), "1": ValueMappingResult(text="blocked", color=WAITING)}
    panel.mappings([ValueMap(options=names)]).show_value(VisibilityMode.NEVER).merge_values(merge_values=True)
    panel.legend(legend())
    return panel.with_target(
        ranged(f"max by (reason) ({metric('scaleset_rollout_blocked', *SCALE_SET)})", "{{reason}}")
    )


def _heatmap() -> Panel:
    panel = begin(heatmap.Panel(), "Time an instance takes", unit="s", width=12, height=8)
    panel.description(
        "From the deletion of the old pod until the new one is healthy, of all sets; it ends at the health timeout."
    )
    buckets = metric("scaleset_instance_upgrade_duration_seconds_bucket", *JOB)
    query = ranged(f"sum by (le) (increase({buckets}[$__rate_interval]))", "{{le}}")
    panel.calculate(calculate=False).y_axis(heatmap.YAxisConfig().unit("s"))
    return panel.with_target(query.format(PromQueryFormat.HEATMAP))


def _quantiles() -> Panel:
    panel = begin(timeseries.Panel(), "Time an instance takes, p50 and p95", unit="s", width=12, height=8)
    panel.description("Of the instances of all sets that became healthy within the last hour of each moment.")
    buckets = metric("scaleset_instance_upgrade_duration_seconds_bucket", *JOB, 'result="succeeded"')
    panel.min(0).legend(legend())
    for ref, quantile in (("A", "0.5"), ("B", "0.95")):
        expression = f"histogram_quantile({quantile}, sum by (le) (increase({buckets}[1h])))"
        panel.with_target(ranged(expression, f"p{float(quantile) * 100:.0f}", ref))
    return panel


def _stat(title: str, description: str, unit: str, width: int) -> stat.Panel:
    panel = begin(stat.Panel(), title, unit=unit, width=width, height=6)
    panel.description(description)
    panel.graph_mode(BigValueGraphMode.NONE).color_mode(BigValueColorMode.VALUE).thresholds(thresholds(OFF))
    return panel.reduce_options(ReduceDataOptions().calcs(["lastNotNull"]).values(values=False))
