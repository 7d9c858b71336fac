"""The metrics as Prometheus' rules want them, and the pages as the code has them."""

import ast
import asyncio
import re
import shutil
import subprocess
import time
from dataclasses import replace

import aiohttp
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.parser import text_string_to_metric_families

from hack import reference
from hack.reference import code
from hack.reference.markdown import PAGES
from hack.reference.source import modules
from scaleset import application
from scaleset.observability.catalogue import CATALOGUE, SET, Definition
from scaleset.observability.events import NORMAL, REASONS, WARNING
from scaleset.observability.metrics import Images, Metrics
from scaleset.runtime.queue import WorkQueue
from tests.simulation.metered import Metered, observed, scrape, total
from tests.simulation.scenes import BAD, running
from tests.simulation.world import spec, version

BASE_UNITS = ("_seconds", "_bytes")
OTHER_UNITS = ("milliseconds", "minutes", "hours", "_ms", "percent", "kilobytes", "megabytes")


def full() -> Metrics:
    """Something of everything."""
    world = running(10)
    meter = Metered(world)
    world.publish("2.0.0", suffix=BAD)
    world.run(1000)
    meter.metrics.watch_queue("scaleset", WorkQueue[str]())
    meter.metrics.reconciled("scaleset", "success", 0.1)
    meter.metrics.requested("GET", "200", 0.1)
    meter.metrics.held_back("POST", 0.1)
    meter.metrics.lagged(0.1)
    meter.metrics.leading("scaleset-operator", leader=True)
    meter.metrics.images.leads = lambda: True
    meter.metrics.images.reconciled(("shop", "contoso/web"), [version("1.0.0")])
    return meter.metrics


@pytest.fixture(scope="module")
def text() -> str:
    return generate_latest(full().registry).decode()


def test_everything_of_the_catalogue_is_exported_and_nothing_else(text: str) -> None:
    exported = {family.name: family for family in text_string_to_metric_families(text)}
    ours = {name for name in exported if not name.startswith(("process_", "python_"))}
    assert ours == {each.base if each.kind == "counter" else each.name for each in CATALOGUE}
    for each in CATALOGUE:
        family = exported[each.base if each.kind == "counter" else each.name]
        assert family.type == each.kind, each.name
        assert family.documentation == each.help
        assert family.samples, f"{each.name} was never seen with a value"
        for sample in family.samples:
            assert sample.labels.keys() - {"le"} == set(each.labels), each.name
            for label, values in each.values:
                assert sample.labels[label] in values, each.name


@pytest.mark.parametrize("found", CATALOGUE, ids=lambda found: str(found.name))
def test_names_and_units(found: Definition) -> None:
    name = found.name
    assert re.fullmatch(r"[a-z][a-z0-9_]*", name)
    assert all(re.fullmatch(r"[a-z][a-z_]*", label) for label in found.labels)
    assert not any(unit in name for unit in OTHER_UNITS), "base units only"
    assert name.endswith("_total") == (found.kind == "counter")
    assert found.kind != "histogram" or name.endswith(BASE_UNITS)
    assert "timestamp" not in name or name.endswith("_timestamp_seconds")
    assert found.help.endswith(".")
    assert found.help[0].isupper() or found.help[0].isdigit()
    assert not {"pod", "instance", "node", "job", "le", "quantile"} & set(found.labels), "unbounded, or Prometheus' own"
    assert bool(found.buckets) == (found.kind == "histogram")
    assert list(found.buckets) == sorted(set(found.buckets))
    assert {label for label, _ in found.values} <= set(found.labels)
    assert not name.startswith("scaleset_") or found.labels[:2] == SET or "scaleset" not in found.labels


def test_no_created_series(text: str) -> None:
    assert "_created" not in text


def test_promtool_finds_nothing_to_say(text: str) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not on PATH; hack/observe/install.sh prometheus")
    told = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    assert (told.returncode, told.stdout + told.stderr) == (0, "")


def test_the_reference_pages_are_those_of_the_code() -> None:
    outdated = [path.name for path, page in reference.pages().items() if path.read_text("utf-8") != page]
    assert not outdated, "run make reference"


def test_every_key_of_a_log_line_is_documented() -> None:
    page = (PAGES / "reference" / "logs.md").read_text("utf-8").partition("## Lines")[0]
    documented = re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)
    used = {key for line in code.lines() for key in line.keys}
    assert len(documented) == len(set(documented))
    assert set(documented) == used | {"time", "level", "logger", "message", "event", "exception"}
    assert {"namespace", "scaleset", "rollout", "batch", "reason"} <= used


def _given(*functions: str) -> set[str]:
    """The constants that are the first argument of calls of those functions, anywhere in the operator."""
    found: set[str] = set()
    for tree, _ in modules():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
                name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                found |= {str(node.args[0].value)} if name in functions else set()
    return found


def test_every_reason_that_the_planner_gives_is_in_the_table() -> None:
    """And the table has none that nobody gives."""
    told = _given("with_event", "Event") | (_given("Acceptance") - {"Accepted", "Pending"})
    waited_for = {"HealthGateWaiting", "Suspended"}
    assert waited_for <= _given("Waiting")
    assert told | waited_for == REASONS.keys()
    assert {kind for kinds, _ in REASONS.values() for kind in kinds} == {NORMAL, WARNING}


def test_events_are_counted_from_zero() -> None:
    metrics = Metrics()
    before = scrape(metrics)
    for reason, (kinds, _) in REASONS.items():
        for kind in kinds:
            assert before["scaleset_events_total", frozenset({("type", kind), ("reason", reason)})] == 0
    metrics.event_recorded(NORMAL, "BatchStarted")
    assert total(scrape(metrics), "scaleset_events_total") == 1


def test_images_are_shown_as_long_as_they_are_there() -> None:
    images = Images()
    images.leads = lambda: True
    registry = CollectorRegistry()
    registry.register(images)
    images.reconciled(("shop", "contoso/web"), [version("1.0.0"), version("1.10.0", excluded=True)])
    images.reconciled(("shop", "contoso/db"), [])
    text = generate_latest(registry).decode()
    assert (
        'scaleset_image_version_published_timestamp_seconds{excluded="true",image="contoso/web/stable",namespace="shop"'
        ',version="1.10.0"} 1.8e+09\n'
    ) in text
    images.leads = lambda: False
    assert "contoso" not in generate_latest(registry).decode()
    images.leads = lambda: True
    images.reconciled(("shop", "contoso/web"), [])
    assert "contoso" not in generate_latest(registry).decode()


def test_a_revision_is_taken_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCALESET_REVISION", "abc123")
    assert total(scrape(Metrics()), "scaleset_operator_build_info", revision="abc123") == 1
    monkeypatch.delenv("SCALESET_REVISION")
    assert total(scrape(Metrics()), "scaleset_operator_build_info", revision="unknown") == 1


# --- cost


def fleet(sets: int, *, replicas: int = 10) -> Metrics:
    """So many sets in the middle of a rollout."""
    world = running(replicas)
    metrics = Metrics()
    seen = [observed(spec(replicas=replicas), world.status, name=f"web-{n:04}", uid=str(n)) for n in range(sets)]
    world.publish("2.0.0")
    snapshot, plan = world.snapshot(), world.plan()
    assert world.observed is not None
    for each in seen:
        metrics.fleet.observed(each, snapshot)
        metrics.fleet.decided(replace(each, status=plan.status), world.observed, plan)
    now = [replace(each, status=plan.status) for each in seen]
    metrics.fleet.watch(lambda: now, leads=lambda: True)
    return metrics


def cost(registry: CollectorRegistry, times: int = 5) -> float:
    """Seconds of processor time of one scrape, at best: what others do on this machine does not count."""
    found = []
    for _ in range(times):
        began = time.thread_time()
        generate_latest(registry)
        found.append(time.thread_time() - began)
    return min(found)


class _Plain:
    """As many samples as a scrape has, made by nobody: what the library itself costs."""

    def __init__(self, samples: int) -> None:
        self._samples = samples

    def collect(self) -> list[Metric]:
        family = GaugeMetricFamily("plain", "Nothing.", labels=["namespace", "scaleset", "state"])
        for number in range(self._samples):
            family.add_metric(["shop", f"web-{number % 100:04}", f"state-{number % 7}"], number)
        return [family]


@pytest.mark.parametrize("replicas", [10, 100])
def test_a_scrape_of_a_hundred_sets_costs_little_more_than_writing_it_down(replicas: int) -> None:
    """About 30 ms on a machine that does nothing else, whatever the number of instances."""
    registry = fleet(100, replicas=replicas).registry
    samples = sum(not line.startswith("#") for line in generate_latest(registry).decode().splitlines())
    plain = CollectorRegistry()
    plain.register(_Plain(samples))
    taken, least = cost(registry), cost(plain)
    print(f"100 sets x {replicas}: {samples} samples, {1000 * taken:.1f} ms, the library alone {1000 * least:.1f} ms")  # noqa: T201 - with -s it is the figure
    assert samples < 100 * 90 + 1000
    assert taken < 2 * least


async def test_a_scrape_does_not_hold_up_the_loop() -> None:
    """The loop goes on while a scrape that takes long is written."""
    metrics = fleet(1000)
    runner = await application.serve("127.0.0.1:0", [application.metrics(metrics.registry)])
    try:
        port = runner.addresses[0][1]
        async with aiohttp.ClientSession() as session:
            scraping = asyncio.create_task(_get(session, f"http://127.0.0.1:{port}/metrics"))
            turns = 0
            while not scraping.done():
                await asyncio.sleep(0.001)
                turns += 1
            assert len(await scraping) > 1_000_000
    finally:
        await runner.cleanup()
    assert turns > 20


async def _get(session: aiohttp.ClientSession, url: str) -> bytes:
    async with session.get(url) as response:
        return await response.read()
