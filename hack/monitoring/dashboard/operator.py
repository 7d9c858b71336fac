"""The operator itself: does it lead, keep up, and get answers from the API server."""

from grafana_foundation_sdk.builders import stat, statetimeline, table, timeseries
from grafana_foundation_sdk.builders.common import ReduceDataOptions
from grafana_foundation_sdk.models.common import BigValueGraphMode, VisibilityMode
from grafana_foundation_sdk.models.dashboard import DataTransformerConfig, ValueMap, ValueMappingResult

from hack.monitoring.dashboard.panels import (
    BAD,
    GOOD,
    OFF,
    PROCESS,
    Panel,
    begin,
    cells,
    legend,
    metric,
    ranged,
    thresholds,
)

BUILD = ("instance", "version", "revision", "python_version", "kopf_version")


def panels() -> list[Panel]:
    """First who leads, then the work, then what it costs."""
    return [
        _leader(),
        _errors(),
        _build(),
        _series(
            "Reconciles",
            "Reconciles a second, by controller and result.",
            "ops",
            f"sum by (controller, result) (rate({_reconciles()}[$__rate_interval]))",
            "{{controller}} {{result}}",
        ),
        _series(
            "Duration of a reconcile, p99",
            "99 of 100 reconciles are faster, by controller.",
            "s",
            f"histogram_quantile(0.99, sum by (le, controller) (rate({_seconds()}[$__rate_interval])))",
            "{{controller}}",
        ),
        _series(
            "Queue depth",
            "Objects that wait to be reconciled. It goes back to 0 as long as the operator keeps up.",
            "short",
            f"sum by (name) ({metric('workqueue_depth', *PROCESS)})",
            "{{name}}",
        ),
        _series(
            "Requests to the API server",
            "Requests a second by status code; <error> is a request without an answer.",
            "reqps",
            f"sum by (code) (rate({metric('rest_client_requests_total', *PROCESS)}[$__rate_interval]))",
            "{{code}}",
        ),
        _series(
            "Events",
            "Events a minute that the operator wrote to objects, by reason.",
            "opm",
            f"60 * sum by (reason) (rate({metric('scaleset_events_total', *PROCESS)}[$__rate_interval]))",
            "{{reason}}",
        ),
        _series(
            "Memory",
            "Resident memory of each operator.",
            "bytes",
            f"max by (instance) ({metric('process_resident_memory_bytes', *PROCESS)})",
            "{{instance}}",
        ),
    ]


def _leader() -> Panel:
    panel = begin(statetimeline.Panel(), "Leader", unit="none", width=12, height=6)
    panel.description("Which operator holds the lease. Exactly one should, but for seconds of a change.")
    names = {"0": ValueMappingResult(text="stands by", color=OFF), "1": ValueMappingResult(text="leads", color=GOOD)}
    panel.mappings([ValueMap(options=names)]).show_value(VisibilityMode.NEVER).legend(legend())
    leads = metric("leader_election_master_status", *PROCESS, 'name="scaleset-operator"')
    return panel.with_target(ranged(f"max by (instance) ({leads})", "{{instance}}"))


def _errors() -> Panel:
    panel = begin(stat.Panel(), "Reconciles that fail", unit="percentunit", width=4, height=6)
    panel.description("Of the reconciles within the last 10 minutes. Each is tried again.")
    failed = metric("controller_runtime_reconcile_total", *PROCESS, 'result="error"')
    everything = f"sum(increase({_reconciles()}[10m]))"
    panel.thresholds(thresholds(GOOD, (0.01, "yellow"), (0.1, BAD))).graph_mode(BigValueGraphMode.AREA)
    panel.reduce_options(ReduceDataOptions().calcs(["lastNotNull"]).values(values=False))
    return panel.with_target(ranged(f"sum(increase({failed}[10m])) / clamp_min({everything}, 1)", "failed"))


def _build() -> Panel:
    panel = begin(table.Panel(), "Build", unit="none", width=8, height=6)
    panel.description("What is running.")
    build = metric("scaleset_operator_build_info", *PROCESS)
    panel.with_transformation(
        DataTransformerConfig(id_val="organize", options={"excludeByName": {"Time": True, "Value": True}})
    )
    return panel.with_target(cells(f"max by ({', '.join(BUILD)}) ({build})", "A"))


def _series(title: str, description: str, unit: str, expression: str, names: str) -> Panel:
    panel = begin(timeseries.Panel(), title, unit=unit, width=8, height=8)
    panel.description(description)
    return panel.fill_opacity(10).min(0).legend(legend()).with_target(ranged(expression, names))


def _reconciles() -> str:
    return metric("controller_runtime_reconcile_total", *PROCESS)


def _seconds() -> str:
    return metric("controller_runtime_reconcile_time_seconds_bucket", *PROCESS)
