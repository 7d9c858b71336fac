"""Every metric: its name, type, labels and meaning. The code exports these metrics, and docs/reference/metrics.md is
generated from them.

Names of controller-runtime and client-go are theirs, so that dashboards made for operators in Go work. No label has
unbounded values, and no label names a pod or an instance.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import CollectorRegistry

from scaleset.planner import changes, status
from scaleset.planner.instances import HealthState

SET = ("namespace", "scaleset")
SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
ROLLOUT_SECONDS = (30.0, 60.0, 120.0, 300.0, 600.0, 1200.0, 1800.0, 3600.0, 7200.0, 14400.0, 28800.0, 86400.0)
INSTANCE_SECONDS = (1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1200.0, 1800.0, 3600.0)

STATUSES = ("Idle", "RollingForward", "Paused", "Completed", "Cancelled", "Faulted")
STATES = ("pending", "in_progress", "succeeded", "failed", "restored")
CHECKS = tuple(state.value.lower() for state in HealthState)
BLOCKS = status.REASONS
WAITS = tuple(each for each in BLOCKS if each not in (status.MAX_UNHEALTHY, "back_off", "target_failed"))
"""Reasons for a running rollout to wait; the other reasons keep a rollout from starting, or end it."""
CONDITIONS = ("Accepted", "Available", "Progressing", "Ready", "Reconciling", "Stalled", "UpToDate")
TRUTHS = ("true", "false")
"""No condition of the operator is ever Unknown."""


@dataclass(frozen=True, slots=True)
class Definition:
    """One metric. `values` are the possible values of a label, if they are few and fixed."""

    name: str
    help: str
    labels: tuple[str, ...]
    values: tuple[tuple[str, tuple[str, ...]], ...]
    buckets: tuple[float, ...]
    leader: bool
    """Whether only the leader exports it."""

    @property
    def kind(self) -> Literal["gauge", "counter", "histogram"]:
        if self.buckets:
            return "histogram"
        return "counter" if self.name.endswith("_total") else "gauge"

    @property
    def base(self) -> str:
        """The name without `_total`, which the library adds to counters."""
        return self.name.removesuffix("_total")

    def family(self) -> GaugeMetricFamily | CounterMetricFamily:
        """An empty family, to be filled by a collector."""
        kind = CounterMetricFamily if self.kind == "counter" else GaugeMetricFamily
        return kind(self.base, self.help, labels=self.labels)

    def gauge(self, registry: CollectorRegistry) -> Gauge:
        return Gauge(self.name, self.help, self.labels, registry=registry)

    def counter(self, registry: CollectorRegistry) -> Counter:
        return Counter(self.base, self.help, self.labels, registry=registry)

    def histogram(self, registry: CollectorRegistry) -> Histogram:
        """The histogram, with zeros for the values of its label, if they are fixed."""
        found = Histogram(self.name, self.help, self.labels, buckets=self.buckets, registry=registry)
        for _, values in self.values:
            for value in values:
                found.labels(value)
        return found


def _metric(
    name: str, text: str, *labels: str, buckets: tuple[float, ...] = (), leader: bool = False, **values: Iterable[str]
) -> Definition:
    """`values` are further labels, each with its possible values."""
    fixed = tuple((label, tuple(each)) for label, each in values.items())
    return Definition(name, text, (*labels, *values), fixed, buckets, leader)


def _of_set(name: str, text: str, *labels: str, **values: Iterable[str]) -> Definition:
    return _metric(name, text, *SET, *labels, buckets=(), leader=True, **values)


def _durations(name: str, text: str, buckets: tuple[float, ...], results: Iterable[str]) -> Definition:
    """Durations in all sets together: a histogram a set would be too many series."""
    return _metric(name, text, buckets=buckets, leader=True, result=results)


INFO = _of_set("scaleset_info", "Always 1; static facts about a ScaleSet.", "image", "policy", "upgrade_mode")
SPEC_REPLICAS = _of_set("scaleset_spec_replicas", "Desired instances.")
STATUS_REPLICAS = _of_set("scaleset_status_replicas", "Instances whose pod exists and is not terminating.")
INSTANCES = _of_set(
    "scaleset_instances",
    "Instances by version and health. The sum is all instances; an instance without a pod is Unhealthy.",
    "version",
    health=[state.value for state in HealthState],
)
CONDITION = _of_set(
    "scaleset_status_condition",
    "1 for the current status of the condition, 0 for the others.",
    condition=CONDITIONS,
    status=TRUTHS,
)
GENERATION = _of_set("scaleset_metadata_generation", "Generation of the spec.")
OBSERVED_GENERATION = _of_set(
    "scaleset_status_observed_generation",
    "Generation that the status is about. A value below scaleset_metadata_generation means that the "
    "operator is behind; 0 means no status yet.",
)
IN_PROGRESS = _of_set("scaleset_rollout_in_progress", "1 while a rollout runs.")
ROLLOUT_STATUS = _of_set(
    "scaleset_rollout_status",
    "1 for the state of the running or last rollout, 0 for the others. Idle: no rollout yet. Paused: "
    "the rollout waits for the pause between batches or for spec.suspend.",
    status=STATUSES,
)
ROLLOUT_INSTANCES = _of_set(
    "scaleset_rollout_instances",
    "Instances of the running or last rollout, each in one state. Restored instances do not count as "
    "failed; instances being restored count as in_progress.",
    state=STATES,
)
BATCH = _of_set("scaleset_rollout_batch", "The running batch, counted from 1; between batches the last one.")
BATCHES = _of_set("scaleset_rollout_batches", "Number of batches of the rollout, as planned now.")
TARGET = _of_set(
    "scaleset_rollout_target_info",
    "Always 1; the target of the running or last rollout. In a rollout of the model both versions are the same.",
    "from_version",
    "to_version",
    started_by=changes.STARTED_BY,
)
STARTED = _of_set(
    "scaleset_rollout_start_timestamp_seconds",
    "When the running or last rollout started, Unix time; absent without a rollout.",
)
PROGRESSED = _of_set(
    "scaleset_rollout_last_progress_timestamp_seconds",
    "When the running or last rollout last made progress, Unix time: a batch began or ended, or an "
    "instance was finished. After a restart of the operator at least the start of the batch.",
)
BLOCKED = _of_set(
    "scaleset_rollout_blocked",
    "1 for the reason that keeps a rollout from starting or continuing, 0 for the others.",
    reason=BLOCKS,
)
BEHIND = _of_set(
    "scaleset_image_versions_behind",
    "Number of versions that latest may choose and that are newer than the oldest running version.",
)
PUBLISHED = _metric(
    "scaleset_image_version_published_timestamp_seconds",
    "When a GalleryImageVersion was published, Unix time. image is publisher/offer/sku.",
    "namespace",
    "image",
    "version",
    leader=True,
    excluded=("true", "false"),
)
ROLLOUTS = _of_set(
    "scaleset_rollouts_total", "Rollouts that ended.", result=changes.ROLLOUT_RESULTS, started_by=changes.STARTED_BY
)
ROLLOUT_DURATION = _durations(
    "scaleset_rollout_duration_seconds",
    "Seconds from the start of a rollout to its end.",
    ROLLOUT_SECONDS,
    changes.ROLLOUT_RESULTS,
)
ROLLOUT_WAIT = _of_set(
    "scaleset_rollout_wait_seconds_total",
    "Seconds in which a running rollout had no running batch, by the reason to wait. The duration of a "
    "rollout includes them.",
    reason=WAITS,
)
BATCH_DURATION = _durations(
    "scaleset_batch_duration_seconds",
    "Seconds from the start of a batch until all its instances were finished; failed if any of them failed.",
    ROLLOUT_SECONDS,
    changes.BATCH_RESULTS,
)
UPGRADES = _of_set(
    "scaleset_instance_upgrades_total",
    "Instances finished by a rollout, each counted once. A failed instance that was restored counts as restored.",
    result=changes.UPGRADE_RESULTS,
)
UPGRADE_DURATION = _durations(
    "scaleset_instance_upgrade_duration_seconds",
    "Seconds from the delete of an instance until it was healthy on its new build (succeeded) or on its previous one "
    "(restored, from the second delete), or given up (failed).",
    INSTANCE_SECONDS,
    changes.UPGRADE_RESULTS,
)
RESTORES = _of_set(
    "scaleset_instance_restores_total",
    "Restores of failed instances to their previous build; failed: not healthy on the previous build either.",
    result=changes.RESTORE_RESULTS,
)
HEALTH_CHECKS = _of_set(
    "scaleset_health_checks_total",
    "Health checks of instances for a health gate or a verdict, on a fresh list of the pods.",
    result=CHECKS,
)
EVENTS = _metric("scaleset_events_total", "Events recorded, including repeated ones.", "type", "reason", leader=True)
RECONCILES = _metric(
    "controller_runtime_reconcile_total",
    "Reconciles by result.",
    "controller",
    result=("success", "requeue_after", "error"),
)
RECONCILE_ERRORS = _metric("controller_runtime_reconcile_errors_total", "Reconciles that failed.", "controller")
RECONCILE_SECONDS = _metric(
    "controller_runtime_reconcile_time_seconds", "Seconds that a reconcile takes.", "controller", buckets=SECONDS
)
ACTIVE_WORKERS = _metric("controller_runtime_active_workers", "Reconciles that run now.", "controller")
QUEUE_DEPTH = _metric("workqueue_depth", "Keys that wait to be reconciled.", "name")
QUEUE_ADDS = _metric("workqueue_adds_total", "Keys added since the start.", "name")
QUEUE_RETRIES = _metric(
    "workqueue_retries_total", "Keys added with a delay: after an error, or for a deadline.", "name"
)
QUEUE_UNFINISHED = _metric(
    "workqueue_unfinished_work_seconds", "Sum of the seconds that the running reconciles have taken so far.", "name"
)
QUEUE_LONGEST = _metric(
    "workqueue_longest_running_processor_seconds",
    "Seconds that the longest running reconcile has taken so far.",
    "name",
)
QUEUE_WAIT = _metric(
    "workqueue_queue_duration_seconds", "Seconds that a key waits to be reconciled.", "name", buckets=SECONDS
)
QUEUE_WORK = _metric("workqueue_work_duration_seconds", "Seconds that a key is worked on.", "name", buckets=SECONDS)
REQUESTS = _metric(
    "rest_client_requests_total",
    "Requests to the API server by method and status code; <error> means no response.",
    "code",
    "method",
    "host",
)
REQUEST_SECONDS = _metric(
    "rest_client_request_duration_seconds",
    "Seconds until the API server's response.",
    "method",
    "host",
    buckets=SECONDS,
)
REQUEST_WAIT = _metric(
    "rest_client_rate_limiter_duration_seconds",
    "Seconds that a request waits: a write for a token of --kube-api-qps, any request for a free slot "
    "or for the end of a pause that the API server asked for. Requests of the lease never wait.",
    "verb",
    "host",
    buckets=SECONDS,
)
LOOP_LAG = _metric(
    "scaleset_operator_event_loop_lag_seconds",
    "Delay of the event loop, sampled 20 times a second; includes time taken by other processes.",
    buckets=SECONDS,
)
LEADER = _metric("leader_election_master_status", "1 while this process holds the lease.", "name")
BUILD = _metric(
    "scaleset_operator_build_info",
    "Always 1; versions of the running operator.",
    "version",
    "revision",
    "python_version",
    "kopf_version",
)

CATALOGUE: tuple[Definition, ...] = tuple(each for each in list(globals().values()) if isinstance(each, Definition))
"""All metrics, in the order of their definitions."""
