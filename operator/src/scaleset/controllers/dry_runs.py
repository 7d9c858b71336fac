"""Would the API server take this pod? Asked before a model is accepted and before a batch deletes anything (semantics
1.3, 4.3).

A dry run passes admission, quota and webhooks and keeps nothing. The pod bears the name of an instance, so that rules
which go by name apply; if that pod exists, AlreadyExists comes last and means that everything else was passed. A
quota counts the old pod and the new one: its refusal matters only where the new pod asks for more than the one that
it replaces.
"""

from scaleset.kube import model_checks
from scaleset.kube.client import Client
from scaleset.kube.errors import ApiError, NotFound
from scaleset.kube.resources import PODS
from scaleset.kube.verdicts import ACCEPTED, asks_for_no_more, verdict
from scaleset.planning import pods
from scaleset.planning.pods import Identity
from scaleset.planning.snapshot import DryRun, ModelCheck, Verdict
from scaleset.records.projections import JSON


async def ask(client: Client, owner: Identity, dry_run: DryRun, *, now: float) -> Verdict:
    """The API server's verdict. Unavailable when there is none."""
    body = pods.pod(owner, dry_run.model, dry_run.build, dry_run.instance, previous=None, created_at=now)
    try:
        await client.create(PODS, owner.namespace, body, dry_run=True)
    except ApiError as error:
        found = verdict(error)
        if found.quota and await _replaces_no_less(client, owner, body):
            return ACCEPTED
        return found
    return ACCEPTED


async def check(client: Client, owner: Identity, asked: ModelCheck, *, now: float) -> Verdict:
    """The API server's verdict on a model. Unavailable when there is none; a model that runs already is not stopped by
    that.
    """
    try:
        said = await _hold(client, owner, model_checks.converse(owner, asked, now=now))
    except ApiError:
        if not asked.runs:
            raise
        return Verdict(accepted=True, unanswered=True)
    return said or await ask(client, owner, DryRun(asked.model, asked.build, asked.instance), now=now)


async def _hold(client: Client, owner: Identity, conversation: model_checks.Conversation) -> Verdict | None:
    """Put the questions of a conversation to the API server, one after the other."""
    try:
        attempt = next(conversation)
        while True:
            answer: model_checks.Answer
            try:
                answer = await client.create(
                    attempt.resource, owner.namespace, attempt.body, dry_run=True, strict=attempt.strict
                )
            except ApiError as error:
                answer = error
            attempt = conversation.send(answer)
    except StopIteration as end:
        verdict: Verdict | None = end.value
        return verdict


async def _replaces_no_less(client: Client, owner: Identity, body: JSON) -> bool:
    """Whether the pod of that name, which will be gone by then, asks for as much as the new one."""
    try:
        old = await client.get(PODS, owner.namespace, body["metadata"]["name"])
    except NotFound:
        return False
    return asks_for_no_more(old, body)
