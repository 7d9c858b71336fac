"""Refusals of quotas in figures, which pods a quota counts, and whether there is room."""

from decimal import Decimal
from typing import Any

import pytest

from scaleset.preflight import quotas
from scaleset.preflight.quotas import Change, Exceeded, Quota, Scope, Size, Traits, exceeded, obstacle, shown, traits

PLAIN = Traits(terminating=False, best_effort=False, priority="", elsewhere=False)


def usage(**amounts: Any) -> dict[str, Decimal]:
    return {name.replace("_", "."): Decimal(str(amount)) for name, amount in amounts.items()}


@pytest.mark.parametrize(
    ("message", "found"),
    [
        (
            (
                'pods "web-0" is forbidden: exceeded quota: q, requested: requests.cpu=900m, used: requests.cpu=2, '
                "limited: requests.cpu=2"
            ),
            Exceeded("q", usage(requests_cpu="0.9"), usage(requests_cpu=2), usage(requests_cpu=2)),
        ),
        (
            "exceeded quota: a.b, requested: memory=1Ki,pods=1, used: memory=1Ki,pods=4, limited: memory=1500,pods=4",
            Exceeded("a.b", usage(memory=1024, pods=1), usage(memory=1024, pods=4), usage(memory=1500, pods=4)),
        ),
        (
            (
                "exceeded quota: q, requested: gold.storageclass.storage.k8s.io/requests.storage=2Gi, used: "
                "gold.storageclass.storage.k8s.io/requests.storage=0, limited: "
                "gold.storageclass.storage.k8s.io/requests.storage=1Gi"
            ),
            Exceeded(
                "q",
                {"gold.storageclass.storage.k8s.io/requests.storage": Decimal(2**31)},
                {"gold.storageclass.storage.k8s.io/requests.storage": Decimal(0)},
                {"gold.storageclass.storage.k8s.io/requests.storage": Decimal(2**30)},
            ),
        ),
        ("exceeded quota: q", None),
        ("exceeded quota: q, requested: cpu=1, used: memory=1, limited: cpu=1", None),
        ("exceeded quota: q, requested: cpu, used: cpu=1, limited: cpu=1", None),
        ("exceeded quota: q, requested: cpu=much, used: cpu=1, limited: cpu=1", None),
        (
            (
                "exceeded quota: q, requested: a=1, used: a=1, limited: a=1 "
                "exceeded quota: r, requested: a=1, used: a=1, limited: a=1"
            ),
            None,
        ),
        ("", None),
    ],
)
def test_a_refusal_in_figures(message, found):
    assert exceeded(message) == found


@pytest.mark.parametrize(
    ("name", "operator", "values", "counts"),
    [
        ("Terminating", "Exists", (), False),
        ("NotTerminating", "Exists", (), True),
        ("BestEffort", "Exists", (), False),
        ("NotBestEffort", "Exists", (), True),
        ("CrossNamespacePodAffinity", "Exists", (), False),
        ("VolumeAttributesClass", "Exists", (), False),
        ("PriorityClass", "Exists", (), True),
        ("PriorityClass", "DoesNotExist", (), False),
        ("PriorityClass", "In", ("high", "low"), True),
        ("PriorityClass", "In", ("low",), False),
        ("PriorityClass", "NotIn", ("high",), False),
        ("PriorityClass", "NotIn", ("low",), True),
    ],
)
def test_a_scope(name, operator, values, counts):
    quota = Quota("q", usage(pods=1), {}, (Scope(name, operator, values),))
    assert quota.counts(PLAIN._replace(priority="high")) == counts


def test_the_traits_of_a_pod():
    containers = [{"name": "c"}]
    assert traits({"spec": {"containers": containers}}).best_effort
    assert not traits({"spec": {"containers": [{"name": "c", "resources": {"limits": {"cpu": 1}}}]}}).best_effort
    assert not traits({"spec": {"containers": containers}, "status": {"qosClass": "Burstable"}}).best_effort
    term: Any = {"podAffinityTerm": {"namespaceSelector": {}}}
    affinity = {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [term]}}
    spec = {"containers": containers, "activeDeadlineSeconds": 5, "priorityClassName": "high", "affinity": affinity}
    assert traits({"spec": spec}) == Traits(terminating=True, best_effort=True, priority="high", elsewhere=True)


def test_of_a_quota_that_was_changed_just_now_the_lower_limit_holds():
    raw = {
        "metadata": {"name": "q"},
        "spec": {"hard": {"cpu": "1", "pods": "9"}, "scopes": ["NotTerminating"]},
        "status": {"hard": {"cpu": "2", "pods": "4"}, "used": {"cpu": "2", "pods": "3"}},
    }
    quota = quotas.quota(raw)
    assert (quota.hard, quota.used) == (usage(cpu=1, pods=4), usage(cpu=2, pods=3))
    assert quota.scopes == (Scope("NotTerminating", "Exists"),)


def change(pods: int = 1, *, size: Any, leaving: Any = (), known: Any = None, named: Any = ()) -> Change:
    made = Size(size, PLAIN, frozenset(size if known is None else known))
    return Change(pods, made, tuple((PLAIN, each) for each in leaving), named={each.quota: each for each in named})


OLD = usage(cpu="0.5")


@pytest.mark.parametrize(
    ("quota", "wanted", "why"),
    [
        # what goes makes room
        (Quota("q", usage(cpu=2), usage(cpu=2)), change(size=OLD, leaving=[OLD]), None),
        (Quota("q", usage(cpu=2), usage(cpu=2)), change(size=usage(cpu="0.6"), leaving=[OLD]), "600m is needed"),
        (Quota("q", usage(cpu=2), usage(cpu=2)), change(size=OLD), "has no room"),
        (Quota("q", usage(cpu=2), usage(cpu=2)), change(4, size=OLD, leaving=[OLD] * 4), None),
        (Quota("q", usage(cpu=2), usage(cpu=2)), change(4, size=OLD, leaving=[OLD] * 3), "has no room"),
        # a limit that is below what is used takes nothing back
        (Quota("q", usage(cpu=1), usage(cpu=2)), change(size=OLD, leaving=[OLD]), "2 of 1, of which 500m"),
        # one that counts no such pods
        (Quota("q", usage(cpu=1), usage(cpu=2), (Scope("BestEffort", "Exists"),)), change(size=OLD), None),
        # what is not counted yet, and what is not needed
        (Quota("q", usage(cpu=1), {}), change(size=OLD), "has not counted cpu yet"),
        (Quota("q", usage(memory=1), {}), change(size=OLD), None),
        # what is only a guess has to fit beside the old ones, too
        (Quota("q", usage(cpu=2), usage(cpu=2)), change(size=OLD, leaving=[OLD], known=()), "is not certain"),
        (Quota("q", usage(cpu=3), usage(cpu=2)), change(size=OLD, leaving=[OLD], known=()), None),
    ],
)
def test_room(quota, wanted, why):
    found = obstacle([quota], wanted)
    assert (found is None) == (why is None)
    assert (why or "") in (found or "")


def test_what_the_api_server_said_is_used_counts_more_than_what_was_read():
    said = Exceeded("q", usage(cpu="0.5"), usage(cpu=2), usage(cpu=2))
    read = Quota("q", usage(cpu=2), usage(cpu=1))
    assert obstacle([read], change(size=OLD, leaving=[OLD], named=[said])) is None
    assert "2 of 2, of which 500m" in str(obstacle([read], change(2, size=OLD, leaving=[OLD], named=[said])))
    # One that cannot be read counts those that are like the new one.
    assert obstacle([], change(size=OLD, leaving=[OLD], named=[said])) is None
    scoped = Quota("q", usage(cpu=2), usage(cpu=2), (Scope("PriorityClass", "In", ("high",)),))
    assert "has no room" in str(obstacle([scoped], change(size=OLD, leaving=[OLD], named=[said])))


@pytest.mark.parametrize(("read", "limit"), [("1.5", "2"), ("2", "1.5")])
def test_of_a_quota_that_was_changed_between_refusal_and_reading_the_lower_limit_holds(read, limit):
    said = Exceeded("q", usage(cpu="0.5"), usage(cpu=2), usage(cpu=limit))
    found = obstacle([Quota("q", usage(cpu=read), usage(cpu=2))], change(size=OLD, leaving=[OLD], named=[said]))
    assert found == "ResourceQuota q has no room: cpu is 2 of 1500m, of which 500m will be free, and 500m is needed."


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        ("0.5", "500m"),
        ("2", "2"),
        ("1.25", "1250m"),
        ("0", "0"),
        (str(2**30), "1Gi"),
        ("1500", "1500"),
        ("1000", "1000"),
    ],
)
def test_amounts_are_shown_as_kubernetes_writes_them(amount, text):
    assert shown(Decimal(amount)) == text
