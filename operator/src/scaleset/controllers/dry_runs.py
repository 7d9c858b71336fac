"""Dry runs of pods and of their claims, before a model is accepted and before a pod is deleted for a replacement. The
requests are in `preflight.admission` and `preflight.model_checks`.
"""

import asyncio
from typing import TypeVar

from scaleset.kube.client import Client
from scaleset.kube.errors import ApiError
from scaleset.planner.plan import DryRun, ModelCheck
from scaleset.planner.pod_builder import Identity
from scaleset.planner.snapshot import Verdict
from scaleset.preflight import model_checks
from scaleset.preflight.admission import questions
from scaleset.preflight.conversation import Answer, Call, Questions

T = TypeVar("T")


async def ask(client: Client, owner: Identity, dry_run: DryRun, *, now: float) -> Verdict:
    """The API server's verdict. Unavailable if there is none."""
    return await _hold(client, owner, questions(owner, dry_run, now=now))


async def check(client: Client, owner: Identity, asked: ModelCheck, *, now: float) -> Verdict:
    """The API server's verdict on a model. Unavailable if there is none, except for a model that runs already."""
    try:
        said = await _hold(client, owner, model_checks.converse(owner, asked, now=now))
    except ApiError:
        if not asked.runs:
            raise
        return Verdict(accepted=True, unanswered=True)
    return said or await ask(client, owner, DryRun(asked.model, asked.build, asked.instance), now=now)


async def _hold(client: Client, owner: Identity, asking: Questions[T]) -> T:
    """Hold a conversation, the requests of each step together."""
    try:
        calls = next(asking)
        while True:
            calls = asking.send(await asyncio.gather(*(_answer(client, owner.namespace, call) for call in calls)))
    except StopIteration as done:
        found: T = done.value
        return found


async def _answer(client: Client, namespace: str, call: Call) -> Answer:
    try:
        if call.verb == "try":
            return await client.create(call.resource, namespace, call.body, dry_run=True, strict=call.strict)
        if call.verb == "get":
            return await client.get(call.resource, namespace, call.name)
        listed, _ = await client.list(call.resource, namespace, label_selector=call.selector or None)
    except ApiError as error:
        return error
    else:
        return listed
