"""A real Prometheus beside real rollouts: what it has scraped is what a person on call sees.

Two rollouts are played once, a good one and one with a bad image; the tests look at the values over time. All samples
of one scrape have the same timestamp, so sums are checked scrape by scrape.
"""

import itertools
import json
import re
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from time import monotonic, sleep
from typing import Any

import pytest

from hack.monitoring.dashboard import dashboard
from hack.observe.prometheus import JOB, Prometheus
from tests.cluster.harness.api import IMAGES, POLICIES, SCALE_SETS
from tests.cluster.harness.cluster import ROOT, Cluster
from tests.cluster.harness.fleet import publish
from tests.cluster.harness.manifests import image_version, scale_set, upgrade_policy
from tests.cluster.harness.operator import Operator

pytestmark = [
    pytest.mark.skipif(
        shutil.which("prometheus") is None,
        reason="prometheus is not on PATH; hack/observe/install.sh prometheus",
    ),
    pytest.mark.timeout(600),
]

REPLICAS = 10
PATIENCE = 180
"""Seconds for what takes a few on an idle machine."""
HISTORY = 3600
BOARD: dict[str, Any] = json.loads(dashboard())
TARGETS = [
    (f"{panel['title']} {target['refId']}", target["expr"])
    for panel in BOARD["panels"]
    for target in panel.get("targets", [])
]
PAGES = [ROOT / "docs" / "observability.md", *sorted((ROOT / "docs" / "runbooks").glob("*.md"))]
DOCUMENTED = [
    (f"{page.name} {number}", query)
    for page in PAGES
    for block in re.findall(r"```promql\n(.*?)```", page.read_text(), flags=re.DOTALL)
    for number, query in enumerate(block.split("\n\n"), start=1)
]
VARIABLES = [each for each in BOARD["templating"]["list"] if each["type"] == "query"]


@dataclass(frozen=True, slots=True)
class Observed:
    """What is looked at, after both rollouts."""

    cluster: Cluster
    prometheus: Prometheus
    namespace: str
    other_namespace: str

    def over_time(self, selector: str) -> dict[float, dict[tuple[str, ...], float]]:
        """The samples of the set `web`, by scrape and by the values of labels that are not about the place."""
        return scrapes(self.prometheus, f'{selector}{{namespace="{self.namespace}",scaleset="web"}}')

    def until(self, expression: str, *, empty: bool = False) -> None:
        """Until the query answers something, or nothing more."""
        waited(lambda: bool(self.prometheus.query(expression)) is not empty, expression)


def waited(done: Callable[[], object], what: str) -> None:
    deadline = monotonic() + PATIENCE
    while not done():
        assert monotonic() < deadline, f"{what}: not within {PATIENCE} s"
        sleep(0.2)


def scrapes(prometheus: Prometheus, selector: str) -> dict[float, dict[tuple[str, ...], float]]:
    place = {"__name__", "namespace", "scaleset", "job", "instance"}
    found: dict[float, dict[tuple[str, ...], float]] = defaultdict(dict)
    for series in prometheus.samples(selector, HISTORY):
        key = tuple(value for label, value in sorted(series["metric"].items()) if label not in place)
        for time, value in series["values"]:
            found[time][key] = float(value)
    return dict(sorted(found.items()))


@pytest.fixture(scope="module")
def observed(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Observed]:
    folder = tmp_path_factory.mktemp("prometheus")
    namespace, other = cluster.make_namespace("observed"), cluster.make_namespace("observed-other")
    operator = Operator(
        kubeconfig=cluster.kubeconfig,
        namespaces=[namespace, other],
        log=folder / "operator.log",
        arguments=["--no-leader-elect"],
    )
    prometheus = Prometheus(folder, operator.metrics_address, scrape="500ms")
    seen = Observed(cluster, prometheus, namespace, other)
    try:
        operator.start()
        operator.wait_ready(PATIENCE)
        prometheus.start()
        play(seen)
        yield seen
    except AssertionError as error:
        raise AssertionError(f"{error}\n{operator.log()[-3000:]}\n{prometheus.log()[-1000:]}") from error
    finally:
        prometheus.stop()
        operator.stop()


def play(seen: Observed) -> None:
    api, namespace = seen.cluster.api, seen.namespace
    web = f'{{namespace="{namespace}",scaleset="web"}}'
    rolling = {"maxBatchInstancePercent": 20, "pauseTimeBetweenBatches": "PT1S"}
    api.apply(POLICIES, namespace, upgrade_policy(rolling=rolling))
    publish(api, namespace, "1.0.0", "fast")
    api.create(SCALE_SETS, namespace, scale_set(replicas=REPLICAS))
    seen.until(f'sum(scaleset_instances{web[:-1]},health="Healthy"}}) == {REPLICAS}')
    seen.until(f"scaleset:rollout_progress:ratio{web} == 0")
    publish(api, namespace, "1.1.0")
    seen.until(f'scaleset_rollout_status{web[:-1]},status="Completed"}} == 1')
    seen.until(f"scaleset:rollout_progress:ratio{web} == 1")
    publish(api, namespace, "1.2.0", "bad")
    seen.until(f'scaleset_rollout_status{web[:-1]},status="Faulted"}} == 1')
    seen.until(f'sum(scaleset_instances{web[:-1]},health="Healthy",version="1.1.0"}}) == {REPLICAS}')
    seen.until('ALERTS{alertname="ScaleSetRolloutFaulted",alertstate="firing"}')


def test_progress_goes_from_0_to_1_and_stays_at_0_with_a_bad_image(observed):
    ratio = observed.over_time("scaleset:rollout_progress:ratio")
    values = [next(iter(each.values())) for each in ratio.values()]
    course = [value for value, _ in itertools.groupby(values)]
    assert course[0] == 0
    assert course[-1] == 0, "the bad image succeeded somewhere"
    up = course[:-1]
    assert up[-1] == 1
    assert up == sorted(up), f"progress went back: {course}"
    assert len(up) > 2, f"nothing between 0 and 1: {course}"


def test_instances_of_the_rollout_add_up_at_every_scrape(observed):
    found = observed.over_time("scaleset_rollout_instances")
    sums = [sum(each.values()) for each in found.values()]
    begun = next(n for n, total in enumerate(sums) if total)
    assert set(sums[:begun]) <= {0}, "before the first rollout there is nothing to count"
    assert set(sums[begun:]) == {REPLICAS}
    assert len(sums) - begun > 10
    assert max(each["in_progress",] for each in found.values()) <= 2, "a batch is 20 % of 10"
    assert found[max(found)] == {
        ("failed",): 0,
        ("in_progress",): 0,
        ("pending",): 8,
        ("restored",): 2,
        ("succeeded",): 0,
    }


def test_instances_by_version_and_health_add_up_at_every_scrape(observed):
    found = observed.over_time("scaleset_instances")
    sums = {time: sum(each.values()) for time, each in found.items()}
    assert {total for total in sums.values() if total != REPLICAS} <= {0}, "a set that was just created has none yet"
    assert found[max(found)] == {("Healthy", "1.1.0"): REPLICAS}
    bad = [sum(count for (_, version), count in each.items() if version == "1.2.0") for each in found.values()]
    assert max(bad) == 2, "the bad image reached more than one batch, or was not seen"
    healthy_on_bad = [count for each in found.values() for key, count in each.items() if key == ("Healthy", "1.2.0")]
    assert sum(healthy_on_bad) == 0


def test_a_set_has_one_status_at_every_scrape(observed):
    found = observed.over_time("scaleset_rollout_status")
    assert {sum(each.values()) for each in found.values()} == {1}
    course = [next(key for key, value in each.items() if value) for each in found.values()]
    ended = [status for (status,), _ in itertools.groupby(course) if status not in {"RollingForward", "Paused"}]
    assert ended == ["Idle", "Completed", "Faulted"]


def test_counters_begin_at_zero_and_count_each_thing_once(observed):
    found = observed.over_time("scaleset_rollouts_total")
    first, last = found[min(found)], found[max(found)]
    assert len(first) == len(last) == 8, "every result and starter is there from the start"
    assert set(first.values()) == {0}
    assert {key: value for key, value in last.items() if value} == {
        ("completed", "platform"): 1,
        ("faulted", "platform"): 1,
    }
    upgrades = observed.over_time("scaleset_instance_upgrades_total")
    assert upgrades[max(upgrades)] == {("failed",): 0, ("restored",): 2, ("succeeded",): REPLICAS}
    for series in observed.prometheus.samples(f'scaleset_rollouts_total{{namespace="{observed.namespace}"}}', HISTORY):
        values = [float(value) for _, value in series["values"]]
        assert values == sorted(values)


def test_the_bad_image_raises_one_alert(observed):
    firing = [alert for alert in observed.prometheus.alerts() if alert["state"] == "firing"]
    assert [alert["labels"]["alertname"] for alert in firing] == ["ScaleSetRolloutFaulted"]
    assert firing[0]["labels"]["scaleset"] == "web"
    assert firing[0]["labels"]["started_by"] == "platform"
    assert firing[0]["annotations"]["summary"] == f"Rollout of {observed.namespace}/web ended Faulted."


def test_every_rule_can_be_evaluated(observed):
    rules = [rule for group in observed.prometheus.rules() for rule in group["rules"]]
    assert len(rules) == 10
    assert {rule["name"]: rule.get("lastError", "") for rule in rules if rule["health"] != "ok"} == {}


@pytest.mark.parametrize(("title", "expression"), TARGETS, ids=[title for title, _ in TARGETS])
def test_a_query_of_the_dashboard_answers(observed, title, expression):
    """At some time of the rollouts: what remains of one is known only while it runs."""
    assert observed.prometheus.over(substituted(expression), HISTORY, step=1) != []


def test_the_annotations_of_the_dashboard_mark_the_ends_of_rollouts(observed):
    (annotation,) = BOARD["annotations"]["list"]
    found = observed.prometheus.over(substituted(annotation["expr"]), HISTORY, step=1)
    assert {(each["metric"]["scaleset"], each["metric"]["result"]) for each in found} == {
        ("web", "completed"),
        ("web", "faulted"),
    }


@pytest.mark.parametrize(("title", "query"), DOCUMENTED, ids=[title for title, _ in DOCUMENTED])
def test_a_query_of_the_docs_is_valid(observed, title, query):
    """Not every one has an answer here: ValueError is raised for those that Prometheus does not understand."""
    assert isinstance(observed.prometheus.query(query), list)


@pytest.mark.parametrize("variable", VARIABLES, ids=lambda variable: str(variable["name"]))
def test_a_variable_of_the_dashboard_has_values(observed, variable):
    query = variable["query"].removeprefix("label_values(").removesuffix(")")
    selector, _, label = query.rpartition(", ")
    values = {each["metric"].get(label) for each in observed.prometheus.query(substituted(selector))}
    wanted = {"job": JOB, "namespace": observed.namespace, "scaleset": "web"}
    assert values
    assert wanted.get(variable["name"], next(iter(values))) in values


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("scaleset-fleet.html", ["web</b>", "faulted", "1.1.0", "1.2.0", "ScaleSetRolloutFaulted", "/graph?g0.expr="]),
        ("scaleset-rollout.html", ["Choose one", "web</b>"]),
        ("scaleset-rollout.html?namespace={namespace}&scaleset=web", ["2 failed and got 1.1.0 back", "8 not touched"]),
        ("scaleset-rollout.html?namespace={namespace}&scaleset=no", ["Prometheus knows of no set"]),
        ('scaleset-rollout.html?namespace=%22%7D%20or%20up%7Ba="&scaleset=<script>', ["&lt;script&gt;"]),
    ],
)
def test_a_console_shows_it(observed, path, said):
    page = observed.prometheus.page(f"/consoles/{path}".format(namespace=observed.namespace))
    words = re.sub(r"\s+", " ", page)
    assert [each for each in said if each not in words] == []
    assert "<no value>" not in page
    assert "ZgotmplZ" not in page, "html/template took a value for dangerous"


def test_nothing_is_left_of_a_set_that_was_deleted(observed):
    api, namespace = observed.cluster.api, observed.other_namespace
    every = f'{{namespace="{namespace}",scaleset="short-lived"}}'
    api.apply(POLICIES, namespace, upgrade_policy())
    api.create(IMAGES, namespace, image_version("1.0.0", behaviour="fast"))
    api.create(SCALE_SETS, namespace, scale_set("short-lived", replicas=2))
    observed.until(f'sum(scaleset_instances{every[:-1]},health="Healthy"}}) == 2')
    publish(api, namespace, "1.1.0")
    observed.until(f'scaleset_rollouts_total{every[:-1]},result="completed",started_by="platform"}} == 1')
    assert observed.prometheus.number(f"count({every})") > 50
    api.delete(SCALE_SETS, namespace, "short-lived")
    observed.until(every, empty=True)
    metrics = observed.prometheus.number("scrape_samples_scraped")
    assert metrics > 0, "and it is still being scraped"


def substituted(expression: str) -> str:
    """With the values that Grafana would put in for All, and for an hour on a screen."""
    values = {
        "$__rate_interval": "1m",
        "$__interval": "15s",
        "$__range": "1h",
        "$job": ".+",
        "$instance": ".+",
        "$namespace": ".+",
        "$scaleset": ".+",
    }
    for name, value in values.items():
        expression = expression.replace(name, value)
    assert "$" not in expression
    return expression
