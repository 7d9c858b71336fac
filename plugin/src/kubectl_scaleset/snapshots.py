"""The snapshot that the planner decides on, read afresh from the API server, and dry runs for it."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from kubectl_scaleset import forecasts
from kubectl_scaleset.catalogue import spec_of, understood
from kubectl_scaleset.failures import explain
from kubectl_scaleset.forecasts import AtOnce, ByHand, Forecast, foresee
from kubectl_scaleset.pictures import SetView
from scaleset.api import names
from scaleset.api.base import InvalidSpec
from scaleset.api.scale_set_status import ScaleSetStatus
from scaleset.api.upgrade_policy import UpgradePolicySpec
from scaleset.kube.errors import ApiError, Forbidden
from scaleset.kube.resources import CLAIMS, PODS, REVISIONS
from scaleset.planner import revisions, status_codec
from scaleset.planner.plan import DryRun, ModelCheck
from scaleset.planner.pod_builder import Identity
from scaleset.planner.snapshot import QueuePosition, Snapshot, Verdict
from scaleset.preflight import model_checks
from scaleset.preflight.admission import questions
from scaleset.preflight.conversation import ACCEPTED, Answer, Call, in_turn
from scaleset.records import projections
from scaleset.records.custom_objects import CustomObject, owned
from scaleset.records.kinds import SCALE_SETS

if TYPE_CHECKING:
    from kubectl_scaleset.session import Session

Seen = TypeVar("Seen")


def forecast(session: "Session", found: SetView) -> Forecast:
    """What the planner would do from now on. CliError if the spec cannot be understood."""
    seen = snapshot(session, found)
    admission = Admission(session, seen.owner)
    return replace(foresee(seen, admission), unchecked=admission.unchecked)


def at_once(session: "Session", found: SetView, value: str) -> AtOnce | None:
    """What a request for the newest model would do; None where you may not read all that it depends on."""
    return _foreseen(session, found, lambda seen, admits: forecasts.at_once(seen, value, admits))


def by_hand(session: "Session", found: SetView) -> ByHand | None:
    """What a start by hand would do; None where you may not read all that it depends on."""
    return _foreseen(session, found, forecasts.by_hand)


def refusal(session: "Session", found: SetView, annotation: str) -> str | None:
    """Why that request would be refused; None too where you may not read all that it depends on."""
    return _foreseen(session, found, lambda seen, admits: forecasts.refusal(seen, annotation, admits))


def _foreseen(session: "Session", found: SetView, ask: Callable[[Snapshot, "Admission"], Seen]) -> Seen | None:
    try:
        seen = snapshot(session, found)
        return ask(seen, Admission(session, seen.owner))
    except Forbidden:
        return None


class Admission:
    """Asks the API server whether it would take what a batch needs. `unchecked` says why it could not be asked; then it
    would.
    """

    def __init__(self, session: "Session", owner: Identity) -> None:
        self.unchecked: str | None = None
        self._session = session
        self._owner = owner

    def __call__(self, asked: DryRun | ModelCheck, now: float) -> Verdict:
        try:
            if isinstance(asked, ModelCheck):
                said = in_turn(model_checks.converse(self._owner, asked, now=now), self._answer)
                if said is not None:
                    return said
                asked = DryRun(asked.model, asked.build, asked.instance)
            return in_turn(questions(self._owner, asked, now=now), self._answer)
        except _NotAllowed as error:
            self.unchecked = explain(error.refusal, server=self._session.server)
            return ACCEPTED

    def _answer(self, call: Call) -> Answer:
        client, namespace = self._session.client, self._owner.namespace
        try:
            if call.verb == "try":
                return client.create(call.resource, namespace, call.body, dry_run=True, strict=call.strict)
            if call.verb == "get":
                return client.get(call.resource, namespace, call.name)
            return client.list(call.resource, namespace, selector=call.selector)[0]
        except Forbidden as error:
            if " cannot " in error.message and " resource " in error.message:
                raise _NotAllowed(error) from error
            return error
        except ApiError as error:
            return error


class _NotAllowed(Exception):  # noqa: N818 - it is an answer
    """The user may not ask that."""

    def __init__(self, refusal: Forbidden) -> None:
        super().__init__(refusal)
        self.refusal = refusal


def snapshot(session: "Session", found: SetView) -> Snapshot:
    """What the operator would see, read afresh."""
    spec = spec_of(found)
    selector = f"{names.LABEL_NAME}={found.name}"
    client = session.client
    image = spec.image_reference
    seen: CustomObject[Any] = CustomObject(
        namespace=found.namespace,
        name=found.name,
        uid=found.uid,
        resource_version=str(found.raw["metadata"]["resourceVersion"]),
        generation=found.generation,
        created=found.created or 0.0,
        deleting=False,
        annotations=found.annotations,
        spec=spec,
        problem="",
        status=found.status,
    )
    mine, foreign_pods = owned(
        (projections.pod(raw) for raw in client.list(PODS, found.namespace, selector=selector)[0]), seen
    )
    claims = [projections.claim(raw) for raw in client.list(CLAIMS, found.namespace, selector=selector)[0]]
    stored = [projections.revision(raw) for raw in client.list(REVISIONS, found.namespace)[0]]
    catalogue = [
        version
        for version in understood(session.versions(image.gallery_namespace or found.namespace))
        if (version.definition.publisher, version.definition.offer) == (image.publisher, image.offer)
    ]
    policy = _policy(session, found)
    reported = ScaleSetStatus.parse({"status": found.status})
    return Snapshot(
        owner=Identity(found.namespace, found.name, found.uid, spec.deletes_claims),
        generation=found.generation,
        spec=spec,
        state=status_codec.read(reported),
        model=revisions.describe(found.name, spec),
        now=client.now(),
        policy=policy,
        annotations=found.annotations,
        pods=mine,
        foreign_pods=foreign_pods,
        claims={claim.name: claim for claim in claims},
        models=tuple(revision.model for revision in stored if revision.owner == found.uid),
        catalogue=tuple(catalogue),
        queue=_queue(session, found, policy),
        fresh=True,
        reported=reported,
    )


def _policy(session: "Session", found: SetView) -> UpgradePolicySpec | None:
    if not found.policy:
        return _parsed({"spec": found.own_policy or {}})
    for raw in session.policies(found.namespace):
        if raw["metadata"]["name"] == found.policy and not raw["metadata"].get("deletionTimestamp"):
            return _parsed(raw)
    return None


def _parsed(raw: Mapping[str, Any]) -> UpgradePolicySpec | None:
    try:
        return UpgradePolicySpec.parse(raw)
    except InvalidSpec:
        return None


def _queue(session: "Session", found: SetView, policy: UpgradePolicySpec | None) -> QueuePosition | None:
    """Where the set stands among those of its policy."""
    if policy is None or not found.policy or policy.max_concurrent_scale_sets is None:
        return None
    others = [SetView(raw) for raw in session.client.list(SCALE_SETS, found.namespace)[0]]
    same = [each for each in others if each.uid != found.uid and each.policy == found.policy]
    mine = projections.seconds(found.status.get("waitingSince"))
    rolling = sum(_rolls(each.rollout) and each.rolling for each in same)
    ahead = 0
    for each in same:
        since = projections.seconds(each.status.get("waitingSince"))
        if since is not None and not each.rolling and (mine is None or (since, each.name) < (mine, found.name)):
            ahead += 1
    return QueuePosition(rolling, ahead)


def _rolls(rollout: Mapping[str, Any]) -> bool:
    return bool(rollout.get("batch") or rollout.get("batchesDone"))
