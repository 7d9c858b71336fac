"""What the panels of the dashboard have in common: the data source, label matchers, colours, and how a panel begins.

A query names the scrape job and, where the metric is about a set, the set. State comes from one leader; `max by` keeps
a panel right for the moment in which a second one is still in the store.
"""

from typing import Final, Protocol, Self, TypeVar

from grafana_foundation_sdk.builders import prometheus
from grafana_foundation_sdk.builders.common import VizLegendOptions
from grafana_foundation_sdk.builders.dashboard import ThresholdsConfig
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import dashboard
from grafana_foundation_sdk.models.common import LegendDisplayMode, LegendPlacement
from grafana_foundation_sdk.models.dashboard import (
    DataSourceRef,
    DynamicConfigValue,
    Threshold,
    ThresholdsMode,
    ValueMap,
    ValueMappingResult,
)
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

DATASOURCE: Final = DataSourceRef(type_val="prometheus", uid="${datasource}")
JOB: Final = ('job=~"$job"',)
SCALE_SET: Final = (*JOB, 'namespace=~"$namespace"', 'scaleset=~"$scaleset"')
PROCESS: Final = (*JOB, 'instance=~"$instance"')
BY_SET: Final = "by (namespace, scaleset)"

GOOD, BUSY, WAITING, BAD, OFF = "green", "blue", "yellow", "red", "text"
STATUSES: Final = {
    "Idle": OFF,
    "RollingForward": BUSY,
    "Paused": WAITING,
    "Completed": GOOD,
    "Cancelled": "purple",
    "Faulted": BAD,
}
"""What a rollout can be, in the order of the numbers that panels use for it, and its colour."""
HEALTH: Final = {"Healthy": GOOD, "Initializing": BUSY, "Unhealthy": BAD, "Unknown": WAITING}
STATES: Final = {"succeeded": GOOD, "in_progress": BUSY, "pending": OFF, "restored": WAITING, "failed": BAD}


Panel = Builder[dashboard.Panel]


class Begun(Protocol):
    """What every kind of panel can be told."""

    def title(self, title: str, /) -> Self: ...
    def description(self, description: str, /) -> Self: ...
    def unit(self, unit: str, /) -> Self: ...
    def datasource(self, datasource: DataSourceRef, /) -> Self: ...
    def span(self, w: int, /) -> Self: ...
    def height(self, h: int, /) -> Self: ...


P = TypeVar("P", bound=Begun)


def begin(panel: P, title: str, *, unit: str, width: int, height: int) -> P:
    """A panel that lacks only its description and queries; width of 24 columns, height in rows of 30 pixels."""
    panel.title(title).unit(unit).datasource(DATASOURCE).span(width).height(height)
    return panel


def metric(name: str, *matchers: str) -> str:
    """A selector."""
    return f"{name}{{{', '.join(matchers)}}}"


def ranged(expression: str, legend: str, ref: str = "A") -> prometheus.Dataquery:
    """A query over the time range."""
    return prometheus.Dataquery().datasource(DATASOURCE).ref_id(ref).expr(expression).legend_format(legend).range()


def instant(expression: str, legend: str, ref: str = "A") -> prometheus.Dataquery:
    """A query at the end of the time range."""
    return prometheus.Dataquery().datasource(DATASOURCE).ref_id(ref).expr(expression).legend_format(legend).instant()


def cells(expression: str, ref: str) -> prometheus.Dataquery:
    """The same, for the columns of a table."""
    return instant(expression, "", ref).format(PromQueryFormat.TABLE)


def rollout_status() -> str:
    """The status of each set's rollout as a number, see STATUSES."""
    states = [metric("scaleset_rollout_status", *SCALE_SET, f'status="{status}"') for status in STATUSES]
    numbered = " or ".join(f"{number} * {state}" for number, state in enumerate(states))
    return f"max {BY_SET} ({numbered})"


def progress() -> str:
    """How much of the current or last rollout of each set has succeeded, from 0 to 1."""
    instances = "scaleset_rollout_instances"
    done = metric(instances, *SCALE_SET, 'state="succeeded"')
    return f"sum {BY_SET} ({done}) / clamp_min(sum {BY_SET} ({metric(instances, *SCALE_SET)}), 1)"


def status_names() -> ValueMap:
    """Shows the numbers of `rollout_status` as words."""
    return ValueMap(
        options={
            str(number): ValueMappingResult(text=status, color=color, index=number)
            for number, (status, color) in enumerate(STATUSES.items())
        }
    )


def thresholds(first: str, *steps: tuple[float, str]) -> ThresholdsConfig:
    """A colour, and others from certain values on."""
    found = [Threshold(color=first), *(Threshold(value=value, color=color) for value, color in steps)]
    return ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(found)


def fixed(color: str) -> list[DynamicConfigValue]:
    """An override: this series has that colour."""
    return [DynamicConfigValue(id_val="color", value={"mode": "fixed", "fixedColor": color})]


def legend() -> VizLegendOptions:
    """Below the panel, in one line."""
    return (
        VizLegendOptions()
        .display_mode(LegendDisplayMode.LIST)
        .placement(LegendPlacement.BOTTOM)
        .show_legend(show_legend=True)
    )
