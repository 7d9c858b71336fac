"""The Grafana dashboard: overview, fleet, one rollout, operator. Grafana 10.1 and newer."""

from typing import Final

from grafana_foundation_sdk.builders.dashboard import (
    AnnotationQuery,
    Dashboard,
    DashboardLink,
    DatasourceVariable,
    QueryVariable,
    Row,
)
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DashboardLinkType,
    VariableOption,
    VariableRefresh,
    VariableSort,
)

from hack.monitoring.dashboard import fleet, operator, overview, rollout
from hack.monitoring.dashboard.panels import DATASOURCE, SCALE_SET, metric

UID: Final = "scaleset-operator"


def dashboard() -> str:
    """As JSON, the same for every run."""
    board = (
        Dashboard("ScaleSets")
        .uid(UID)
        .description("Image rollouts of ScaleSets, the health of their instances, and the operator.")
        .tags(["kubernetes", "scaleset-operator"])
        .readonly()
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .time("now-1h", "now")
        .timezone("browser")
        .refresh("30s")
        .link(
            DashboardLink("ScaleSet dashboards")
            .type(DashboardLinkType.DASHBOARDS)
            .tags(["scaleset-operator"])
            .as_dropdown(as_dropdown=True)
            .keep_time(keep_time=True)
            .include_vars(include_vars=True)
        )
        .with_variable(DatasourceVariable("datasource").label("Data source").type("prometheus"))
        .with_variable(_variable("job", "Job", "label_values(scaleset_operator_build_info, job)"))
        .with_variable(
            _variable("instance", "Instance", 'label_values(scaleset_operator_build_info{job=~"$job"}, instance)')
        )
        .with_variable(
            _variable("namespace", "Namespace", 'label_values(scaleset_spec_replicas{job=~"$job"}, namespace)')
        )
        .with_variable(
            _variable(
                "scaleset",
                "ScaleSet",
                'label_values(scaleset_spec_replicas{job=~"$job", namespace=~"$namespace"}, scaleset)',
            )
        )
        .annotation(
            AnnotationQuery()
            .name("Ends of rollouts")
            .datasource(DATASOURCE)
            .enable(enable=True)
            .icon_color("purple")
            .expr(f"changes({metric('scaleset_rollouts_total', *SCALE_SET)}[$__interval]) > 0")
        )
    )
    for title, panels in (
        ("Overview", overview.panels()),
        ("Fleet", fleet.panels()),
        ("One rollout", rollout.panels()),
        ("Operator", operator.panels()),
    ):
        board = board.with_row(Row(title))
        for panel in panels:
            board = board.with_panel(panel)
    built = board.build()
    for number, each in enumerate(built.panels or [], start=1):
        each.id_val = number  # links to a panel keep working
    return JSONEncoder(sort_keys=True, indent=2).encode(built) + "\n"


def _variable(name: str, label: str, query: str) -> QueryVariable:
    everything = VariableOption(text="All", value="$__all", selected=True)
    return (
        QueryVariable(name)
        .label(label)
        .datasource(DATASOURCE)
        .query(query)
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.ALPHABETICAL_ASC)
        .multi(multi=True)
        .include_all(include_all=True)
        .all_value(".+")
        .current(everything)
    )
