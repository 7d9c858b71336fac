"""What the API server is asked about a model, and what its answers mean."""

import copy
from collections.abc import Callable
from typing import Any

import pytest

from scaleset.api.scale_set import ScaleSetSpec
from scaleset.kube import errors
from scaleset.planner import revisions
from scaleset.planner.instances import Build
from scaleset.planner.plan import ModelCheck
from scaleset.planner.revisions import Revision
from scaleset.planner.snapshot import Verdict
from scaleset.preflight import model_checks
from scaleset.preflight.conversation import Call
from tests.simulation.world import OWNER, spec

Server = Callable[[Call], Any]
FULL = errors.Forbidden(403, "Forbidden", 'pods "web-3" is forbidden: exceeded quota: q')
TAKEN = errors.AlreadyExists(409, "AlreadyExists", 'persistentvolumeclaims "data-web-0" already exists')


def model(*, number: int = 0, claims: bool = False, **container: Any) -> Revision:
    base = {"name": "app", "readinessProbe": {"tcpSocket": {"port": 80}}, **container}
    template = {"spec": {"initContainers": [{"name": "first"}], "containers": [base]}}
    raw = spec().model_dump(by_alias=True, exclude_unset=True, mode="json") | {"template": template}
    if claims:
        raw["volumeClaimTemplates"] = [{"metadata": {"name": "data"}, "spec": {}}]
    raw["customData"], raw["runCustomData"] = "echo", True
    found = revisions.describe(OWNER.name, ScaleSetSpec.model_validate(raw))
    return Revision(found.name, number, found.data)


def hold(asked: Revision, *stored: Revision, server: Server, runs: bool = False) -> tuple[Verdict | None, list[Call]]:
    check = ModelCheck(asked, Build(asked.name, "1.0.0", "os:1"), 0, beside=3, stored=stored, runs=runs)
    conversation = model_checks.converse(OWNER, check, now=1.8e9)
    attempts: list[Call] = []
    try:
        (attempt,) = next(conversation)
        while True:
            attempts.append(attempt)
            (attempt,) = conversation.send([server(attempt)])
    except StopIteration as end:
        return end.value, attempts


def defaulting(attempt: Call) -> Any:
    """Knows one default, one field that is misspelt, and makes up a uid."""
    body = copy.deepcopy(attempt.body)
    unknown = []
    for container in body["spec"].get("containers", ()):
        container.setdefault("imagePullPolicy", "IfNotPresent")
        if container.pop("resource", None) is not None:
            index = body["spec"]["containers"].index(container)
            unknown.append(f'unknown field "spec.containers[{index}].resource"')
    for index, container in enumerate(body["spec"].get("initContainers", ())):
        container.setdefault("imagePullPolicy", "IfNotPresent")
        if container.pop("comand", None) is not None:
            unknown.append(f'unknown field "spec.initContainers[{index}].comand"')
    if unknown and attempt.strict:
        words = f'Pod in version "v1" cannot be handled as a Pod: strict decoding error: {", ".join(unknown)}'
        return errors.Invalid(400, "BadRequest", words)
    body["metadata"]["uid"] = f"{id(body)}"
    return body


def test_another_spelling_is_the_stored_model():
    stored, asked = model(number=1), model(imagePullPolicy="IfNotPresent")
    verdict, attempts = hold(asked, stored, server=defaulting)
    assert verdict == Verdict(accepted=True, same_as=stored.name)
    assert {attempt.body["metadata"]["name"] for attempt in attempts} == {"web-3"}
    labels = {attempt.body["metadata"]["labels"]["scaleset.dev/model"] for attempt in attempts}
    assert labels == {asked.name}


def test_a_change_is_a_model_of_its_own():
    verdict, _ = hold(model(imagePullPolicy="Always"), model(number=1), server=defaulting)
    assert verdict is None


def test_the_same_words_for_pods_need_no_answer():
    """The image of the instance container comes from the version."""
    stored, asked = model(number=1), model(image="placeholder")
    verdict, attempts = hold(asked, stored, server=lambda _: FULL)
    assert verdict == Verdict(accepted=True, same_as=stored.name)
    assert [attempt.strict for attempt in attempts] == [True]


@pytest.mark.parametrize("refused", [0, 1, 2])
def test_without_an_answer_it_is_taken_for_another_model(refused):
    lenient: list[Call] = []

    def server(attempt: Call) -> Any:
        if attempt.strict:
            return defaulting(attempt)
        lenient.append(attempt)
        answer = defaulting(attempt)
        answer["metadata"]["annotations"]["nonce"] = str(len(lenient))
        return FULL if len(lenient) == refused + 1 else answer

    verdict, _ = hold(model(imagePullPolicy="IfNotPresent"), model(number=1), server=server)
    assert verdict is None
    assert len(lenient) == refused + 1


def test_a_webhook_that_makes_something_up_is_seen_through():
    count = iter(range(100))

    def server(attempt: Call) -> Any:
        answer = defaulting(attempt)
        if not isinstance(answer, errors.ApiError):
            answer["metadata"]["annotations"]["nonce"] = str(next(count))
        return answer

    stored = model(number=1)
    verdict, _ = hold(model(imagePullPolicy="IfNotPresent"), stored, server=server)
    assert verdict is not None
    assert verdict.same_as == stored.name


def test_misspelt_fields_of_a_new_model_are_named_by_container():
    verdict, _ = hold(model(resource={}), model(number=1), server=defaulting)
    assert verdict is not None
    assert not verdict.accepted
    assert "would drop: resource of container app. Correct the spelling, or remove them" in verdict.message


def test_numbers_of_init_containers_are_not_those_of_the_template():
    asked = model()
    asked.data["template"]["spec"]["initContainers"][0]["comand"] = ["true"]
    verdict, _ = hold(asked, server=defaulting)
    assert verdict is not None
    assert "comand of init container first" in verdict.message


def test_a_model_that_runs_is_warned_about():
    verdict, attempts = hold(model(number=1, resource={}), server=defaulting, runs=True)
    assert verdict is not None
    assert verdict.accepted
    assert verdict.warning.startswith("The spec has fields that Kubernetes does not know and would drop: resource of")
    assert len(attempts) == 1


def test_another_spelling_of_a_model_with_misspelt_fields_is_warned_about_and_goes_on():
    stored = model(number=1, resource={})
    verdict, _ = hold(model(resource={}, imagePullPolicy="IfNotPresent"), stored, server=defaulting)
    assert verdict is not None
    assert (verdict.accepted, verdict.same_as) == (True, stored.name)
    assert "resource of container app" in verdict.warning


def test_many_fields_are_not_all_named():
    fields = " ".join(f'unknown field "spec.f{number}",' for number in range(9))
    refusal = errors.Invalid(400, "BadRequest", f"strict decoding error: {fields}")
    verdict, _ = hold(model(), server=lambda attempt: refusal if attempt.strict else defaulting(attempt))
    assert verdict is not None
    assert "template.spec.f4 and 4 more" in verdict.message


@pytest.mark.parametrize("answer", [FULL, TAKEN])
def test_neither_a_quota_on_claims_nor_one_that_is_there_is_about_the_model(answer):
    def server(attempt: Call) -> Any:
        return answer if attempt.body["kind"] == "PersistentVolumeClaim" else defaulting(attempt)

    assert hold(model(claims=True), server=server)[0] is None


def test_a_claim_template_that_makes_no_claims_is_refused():
    invalid = errors.Invalid(422, "Invalid", "spec.accessModes: Required value")

    def server(attempt: Call) -> Any:
        return invalid if attempt.body["kind"] == "PersistentVolumeClaim" else defaulting(attempt)

    verdict, attempts = hold(model(claims=True), server=server)
    assert verdict == Verdict(accepted=False, message="claim template data: spec.accessModes: Required value")
    assert attempts[-1].body["metadata"]["name"] == "data-web-0"


def test_misspelt_fields_of_a_claim_template_are_named():
    words = 'cannot be handled as a PersistentVolumeClaim: strict decoding error: unknown field "spec.storageClass"'

    def server(attempt: Call) -> Any:
        claim = attempt.body["kind"] == "PersistentVolumeClaim"
        return errors.Invalid(400, "BadRequest", words) if claim and attempt.strict else defaulting(attempt)

    verdict, _ = hold(model(claims=True), server=server)
    assert verdict is not None
    assert "spec.storageClass of claim template data" in verdict.message


def test_what_says_nothing_is_raised():
    silence = errors.Unavailable(0, "TimeoutError", "POST pods")
    with pytest.raises(errors.Unavailable):
        hold(model(), server=lambda _: silence)
