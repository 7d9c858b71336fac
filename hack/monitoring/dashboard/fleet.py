"""All sets at once: what each one runs, where its rollout stands, and how it went over time."""

from grafana_foundation_sdk.builders import statetimeline, table, timeseries
from grafana_foundation_sdk.builders.common import StackingConfig
from grafana_foundation_sdk.models.common import StackingMode, VisibilityMode
from grafana_foundation_sdk.models.dashboard import DataTransformerConfig, DynamicConfigValue

from hack.monitoring.dashboard.panels import (
    BY_SET,
    HEALTH,
    SCALE_SET,
    Panel,
    begin,
    cells,
    fixed,
    legend,
    metric,
    progress,
    ranged,
    rollout_status,
    status_names,
)

LINK = "/d/scaleset-operator?var-namespace=${__data.fields.Namespace}&var-scaleset=${__data.fields.ScaleSet}"
COLUMNS = {
    "namespace": "Namespace",
    "scaleset": "ScaleSet",
    "Value #status": "Rollout",
    "from_version": "From",
    "to_version": "To",
    "Value #progress": "Progress",
    "Value #healthy": "Healthy",
    "Value #replicas": "Desired",
    "Value #behind": "Versions behind",
}


def panels() -> list[Panel]:
    """The table first: it answers most questions."""
    return [_table(), _timeline(), _versions(), _health()]


def _table() -> Panel:
    panel = begin(table.Panel(), "Sets", unit="none", width=24, height=8)
    panel.description(
        "One row a set: its current or last rollout and its instances. A click on a name shows that set only."
    )
    targets = metric("scaleset_rollout_target_info", *SCALE_SET)
    healthy = metric("scaleset_instances", *SCALE_SET, 'health="Healthy"')
    for ref, expression in {
        "status": rollout_status(),
        "target": f"max by (namespace, scaleset, from_version, to_version) ({targets})",
        "progress": progress(),
        "healthy": f"sum {BY_SET} ({healthy})",
        "replicas": f"max {BY_SET} ({metric('scaleset_spec_replicas', *SCALE_SET)})",
        "behind": f"max {BY_SET} ({metric('scaleset_image_versions_behind', *SCALE_SET)})",
    }.items():
        panel.with_target(cells(expression, ref))
    panel.with_transformation(DataTransformerConfig(id_val="merge", options={}))
    panel.with_transformation(
        DataTransformerConfig(
            id_val="organize",
            options={
                "excludeByName": {"Time": True, "Value #target": True},
                "indexByName": {name: place for place, name in enumerate(COLUMNS)},
                "renameByName": COLUMNS,
            },
        )
    )
    link = {"title": "Show this set", "url": LINK}
    panel.override_by_name("ScaleSet", [DynamicConfigValue(id_val="links", value=[link])])
    panel.override_by_name(
        "Rollout",
        [
            DynamicConfigValue(id_val="mappings", value=[status_names()]),
            DynamicConfigValue(id_val="custom.cellOptions", value={"type": "color-text"}),
        ],
    )
    panel.override_by_name(
        "Progress",
        [
            DynamicConfigValue(id_val="unit", value="percentunit"),
            DynamicConfigValue(id_val="min", value=0),
            DynamicConfigValue(id_val="max", value=1),
            DynamicConfigValue(id_val="custom.cellOptions", value={"type": "gauge", "mode": "basic"}),
        ],
    )
    return panel


def _timeline() -> Panel:
    panel = begin(statetimeline.Panel(), "Rollouts over time", unit="none", width=24, height=7)
    panel.description("What the rollout of each set was doing, by the name of its status.")
    panel.mappings([status_names()]).show_value(VisibilityMode.NEVER).merge_values(merge_values=True)
    panel.legend(legend())
    return panel.with_target(ranged(rollout_status(), "{{namespace}}/{{scaleset}}"))


def _versions() -> Panel:
    panel = _stacked(
        "Instances by version",
        "How many instances run each image version. A rollout shows as one colour that takes the place of another, "
        "a bad version as a narrow peak that goes away.",
    )
    return panel.with_target(
        ranged(f"sum by (version) ({metric('scaleset_instances', *SCALE_SET)})", "{{version}}"),
    )


def _health() -> Panel:
    panel = _stacked("Instances by health", "How many instances are healthy, starting, not healthy, or not heard of.")
    for health, color in HEALTH.items():
        panel.override_by_name(health, fixed(color))
    return panel.with_target(
        ranged(f"sum by (health) ({metric('scaleset_instances', *SCALE_SET)})", "{{health}}"),
    )


def _stacked(title: str, description: str) -> timeseries.Panel:
    panel = begin(timeseries.Panel(), title, unit="short", width=12, height=9)
    panel.description(description)
    panel.fill_opacity(70).line_width(0).min(0).decimals(0).legend(legend())
    return panel.stacking(StackingConfig().mode(StackingMode.NORMAL))
