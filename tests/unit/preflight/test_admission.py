"""What the API server is asked before a batch, and what follows from its answers: played without one."""

from collections.abc import Callable
from typing import Any

import pytest

from scaleset.kube.errors import AlreadyExists, Forbidden, Invalid, Unavailable
from scaleset.planner.instances import Build
from scaleset.planner.plan import DryRun
from scaleset.planner.pod_builder import Identity
from scaleset.planner.revisions import Revision
from scaleset.planner.snapshot import Newcomer, Verdict
from scaleset.preflight.admission import questions
from scaleset.preflight.conversation import Call, in_turn

OWNER = Identity("ns", "web", "uid-1")
NOW = 1_000_000_000.0
THERE = AlreadyExists(409, "AlreadyExists", "pods already exists")
BUILD = Build("web-a", "1.1.0", "registry.example/os:1.1.0")


def model(*, cpu: str = "", claims: tuple[str, ...] = (), **spec: Any) -> Revision:
    container = {"name": "os", **({"resources": {"requests": {"cpu": cpu}}} if cpu else {})}
    templates = [{"metadata": {"name": name}, "spec": {}} for name in claims]
    data = {"template": {"spec": {"containers": [container], **spec}}, "volumeClaimTemplates": templates}
    return Revision("web-a", 1, data)


def full(name: str = "q", cpu: str = "500m", used: str = "2", limited: str = "2") -> Forbidden:
    figures = f"requested: requests.cpu={cpu}, used: requests.cpu={used}, limited: requests.cpu={limited}"
    return Forbidden(403, "Forbidden", f'pods "web-0" is forbidden: exceeded quota: {name}, {figures}')


def no_pods(name: str = "objects") -> Forbidden:
    return Forbidden(403, "Forbidden", f"exceeded quota: {name}, requested: pods=1, used: pods=4, limited: pods=4")


def quota(name: str = "q", *, scopes: Any = (), **figures: tuple[str, str]) -> Any:
    hard = {key.replace("_", "."): limit for key, (_, limit) in figures.items()}
    used = {key.replace("_", "."): amount for key, (amount, _) in figures.items()}
    spec = {"hard": hard, "scopes": list(scopes)}
    return {"metadata": {"name": name}, "spec": spec, "status": {"hard": hard, "used": used}}


def old(number: int, cpu: str = "500m", *, uid: str = OWNER.uid, built: str = "web-a", **spec: Any) -> Any:
    return {
        "metadata": {
            "name": f"web-{number}",
            "labels": {"scaleset.dev/model": built},
            "ownerReferences": [{"controller": True, "uid": uid}],
        },
        "spec": {"containers": [{"name": "os", "resources": {"requests": {"cpu": cpu} if cpu else {}}}], **spec},
        "status": {"qosClass": "Burstable"},
    }


class Server:
    """Answers by what is asked; `pods` are dry runs of pods, in order, the last one for ever."""

    def __init__(
        self,
        *pods: Any,
        quotas: Any = (),
        present: Any = (),
        claims: Callable[[Any], Any] = lambda body: body,
        found: Any = None,
    ) -> None:
        self.pods, self.quotas, self.present = list(pods), quotas, list(present)
        self.claims, self.found = claims, found
        self.calls: list[Call] = []

    def answer(self, call: Call) -> Any:
        self.calls.append(call)
        if call.verb == "list":
            return self.quotas if call.resource.plural == "resourcequotas" else self.present
        if call.verb == "get":
            return self.found
        if call.resource.plural == "persistentvolumeclaims":
            return self.claims(call.body)
        found = self.pods.pop(0) if len(self.pods) > 1 else self.pods[0]
        return found(call.body) if callable(found) else found

    def verdict(self, wanted: Revision, *numbers: int, claims: tuple[str, ...] = ()) -> Verdict:
        batch = tuple(Newcomer(n, BUILD, claims) for n in numbers or (0,))
        return in_turn(questions(OWNER, DryRun(wanted, BUILD, batch[0].instance, batch), now=NOW), self.answer)


def test_one_that_would_be_taken_is_asked_about_once():
    server = Server(THERE)
    assert server.verdict(model()).accepted
    assert [(call.verb, call.body["metadata"]["name"]) for call in server.calls] == [("try", "web-0")]


def test_a_refusal_by_anybody_else_is_the_last_word():
    said = Server(Invalid(422, "Invalid", "spec.containers[0].image: Required value")).verdict(model())
    assert (said.accepted, said.quota, said.message) == (False, False, "spec.containers[0].image: Required value")


def test_no_answer_is_no_verdict():
    with pytest.raises(Unavailable):
        Server(Unavailable(0, "TimeoutError", "timeout")).verdict(model())


@pytest.mark.parametrize(
    ("refusal", "present", "accepted"),
    [
        (full(), [old(0)], True),
        (full(cpu="900m"), [old(0)], False),
        (full(cpu="900m"), [old(0, "900m")], True),
        (full(), [], False),  # nothing goes
        (full(), [old(1)], False),  # another one's does not count
        (full(), [old(0, uid="uid-2")], False),  # nor a stranger's
        (full(limited="1500m"), [old(0)], False),  # the quota was lowered
        (Forbidden(403, "Forbidden", "exceeded quota: q, in other words"), [old(0)], False),
    ],
)
def test_the_figures_of_a_refusal_decide(refusal, present, accepted):
    said = Server(refusal, quotas=[quota(requests_cpu=("2", "2"))], present=present).verdict(model())
    assert said.accepted == accepted
    if not accepted:
        assert said.quota
        assert "exceeded quota: q" in said.message


def test_without_the_right_to_read_quotas_a_refusal_stands():
    said = Server(full(), quotas=Forbidden(403, "Forbidden", "cannot list"), present=[old(0)]).verdict(model())
    assert not said.accepted
    assert "lacks list resourcequotas" in said.message
    assert Server(THERE, quotas=Forbidden(403, "Forbidden", "cannot list")).verdict(model(), 0, 1).accepted


def test_two_quotas_of_which_the_api_server_names_one_at_a_time():
    listed = [quota("objects", pods=("4", "4")), quota(requests_cpu=("2", "2"))]
    both = [no_pods(), no_pods(), full()]
    assert Server(*both, quotas=listed, present=[old(0)]).verdict(model()).accepted
    said = Server(no_pods(), no_pods(), full(cpu="900m"), quotas=listed, present=[old(0)]).verdict(model())
    assert not said.accepted
    assert "ResourceQuota q has no room" in said.message


def test_what_no_refusal_names_has_to_be_certain():
    listed = [quota("objects", pods=("4", "4")), quota(requests_cpu=("2", "2"))]
    said = Server(no_pods(), quotas=listed, present=[old(0)]).verdict(model())
    assert not said.accepted
    assert "is not certain" in said.message
    # Each container says it: nothing can add to it.
    explicit = Server(no_pods(), quotas=listed, present=[old(0)])
    assert explicit.verdict(model(cpu="500m")).accepted
    assert len(explicit.calls) == 3
    # There is room enough beside the old one.
    roomy = [listed[0], quota(requests_cpu=("2", "20"))]
    assert Server(no_pods(), quotas=roomy, present=[old(0)]).verdict(model()).accepted


def test_only_the_image_changes_and_the_figures_agree():
    listed = [quota(requests_cpu=("2", "2")), quota("m", requests_memory=("4", "4"))]
    before = old(0)
    before["spec"]["containers"][0]["resources"]["requests"]["memory"] = "1"
    assert Server(full(), quotas=listed, present=[before]).verdict(model()).accepted
    before["metadata"]["labels"]["scaleset.dev/model"] = "web-before"
    assert not Server(full(), quotas=listed, present=[before]).verdict(model()).accepted


def test_a_webhook_that_makes_pods_larger_makes_what_they_say_uncertain():
    listed = [quota(requests_cpu=("2", "2")), quota("m", requests_memory=("4", "4"))]
    wanted = model()
    wanted.data["template"]["spec"]["containers"][0]["resources"] = {"requests": {"cpu": "500m", "memory": "1"}}
    before = old(0, "600m", built="web-before")
    before["spec"]["containers"][0]["resources"]["requests"]["memory"] = "1"
    assert not Server(full(cpu="600m"), quotas=listed, present=[before]).verdict(wanted).accepted
    assert Server(full(cpu="500m"), quotas=listed, present=[before]).verdict(wanted).accepted


def test_several_have_to_fit_together():
    def larger(body: Any) -> Any:
        return {**body, "status": {"qosClass": "Burstable"}}

    small = [old(0, "100m"), old(1, "100m")]
    for limit, accepted in (("1500m", True), ("1200m", False)):
        server = Server(THERE, larger, quotas=[quota(requests_cpu=("700m", limit))], present=small)
        said = server.verdict(model(cpu="500m"), 0, 1)
        assert said.accepted == accepted
        assert server.calls[-1].body["metadata"]["name"] == "web-2"  # a free name: it is given back whole
    assert "700m of 1200m, of which 200m will be free, and 1 is needed" in said.message


def test_no_pods_are_read_where_no_quota_is():
    server = Server(THERE)
    assert server.verdict(model(), 0, 1, 2).accepted
    assert [(call.verb, call.resource.plural) for call in server.calls] == [("try", "pods"), ("list", "resourcequotas")]


# Claims


def admitted(body: Any) -> Any:
    return {**body, "spec": {"storageClassName": "gold", "resources": {"requests": {"storage": "1Gi"}}}}


def test_each_missing_claim_is_tried():
    server = Server(THERE, claims=admitted)
    assert server.verdict(model(claims=("data", "logs")), 0, 1, claims=("data", "logs")).accepted
    tried = [call.body["metadata"]["name"] for call in server.calls if call.resource.plural == "persistentvolumeclaims"]
    assert tried == ["data-web-0", "logs-web-0", "data-web-1", "logs-web-1"]


def test_a_claim_that_is_refused_is_a_refusal():
    words = (
        "exceeded quota: q, requested: requests.storage=2Gi, used: requests.storage=5Gi, limited: requests.storage=6Gi"
    )
    server = Server(THERE, claims=lambda _: Forbidden(403, "Forbidden", words), present=[old(0)])
    assert server.verdict(model(claims=("data",)), claims=("data",)).message == words


@pytest.mark.parametrize("resource", ["requests.storage", "gold.storageclass.storage.k8s.io/requests.storage"])
def test_claims_have_to_fit_together(resource):
    for limit, accepted in (("7Gi", True), ("6Gi", False)):
        listed = quota()
        listed["spec"]["hard"] = listed["status"]["hard"] = {resource: limit}
        listed["status"]["used"] = {resource: "5Gi"}
        server = Server(THERE, claims=admitted, quotas=[listed], present=[old(0), old(1)])
        said = server.verdict(model(claims=("data",)), 0, 1, claims=("data",))
        assert said.accepted == accepted
    assert f"{resource} is 5Gi of 6Gi and 2Gi is needed" in said.message


def owned_by(uid: str) -> dict[str, str]:
    return {"apiVersion": "scaleset.dev/v1beta1", "kind": "ScaleSet", "name": "web", "uid": uid}


@pytest.mark.parametrize(
    ("metadata", "why"),
    [
        ({"labels": {"scaleset.dev/name": "web"}}, ""),
        ({"labels": {"scaleset.dev/name": "other"}}, "exists but is not ours"),
        ({}, "exists but is not ours"),
        ({"labels": {"scaleset.dev/name": "web"}, "deletionTimestamp": "2001-09-09T01:46:40Z"}, "is being deleted"),
        ({"labels": {"scaleset.dev/name": "web"}, "ownerReferences": [owned_by(OWNER.uid)]}, ""),
        (
            {"labels": {"scaleset.dev/name": "web"}, "ownerReferences": [owned_by("earlier")]},
            "names another ScaleSet as its owner",
        ),
    ],
)
def test_a_claim_that_exists_has_to_be_ours(metadata, why):
    found = {"metadata": {"name": "data-web-0", **metadata}}
    server = Server(THERE, claims=lambda _: THERE, found=found)
    said = server.verdict(model(claims=("data",)), claims=("data",))
    assert said.accepted == (not why)
    assert why in said.message
