"""Would the API server take these pods, and the claims that they need? Asked before a model is accepted and before
anything is deleted for a replacement (semantics 1.3, 4.3). What is asked is in `kube.admission`.
"""

import asyncio

from scaleset.kube.admission import Answer, Call, questions
from scaleset.kube.client import Client
from scaleset.kube.errors import ApiError
from scaleset.planning.pods import Identity
from scaleset.planning.snapshot import DryRun, Verdict


async def ask(client: Client, owner: Identity, dry_run: DryRun, *, now: float) -> Verdict:
    """The API server's verdict. Unavailable when there is none."""
    asking = questions(owner, dry_run, now=now)
    try:
        calls = next(asking)
        while True:
            calls = asking.send(await asyncio.gather(*(_answer(client, owner.namespace, call) for call in calls)))
    except StopIteration as done:
        found: Verdict = done.value
        return found


async def _answer(client: Client, namespace: str, call: Call) -> Answer:
    try:
        if call.verb == "try":
            return await client.create(call.resource, namespace, call.body, dry_run=True)
        if call.verb == "get":
            return await client.get(call.resource, namespace, call.name)
        listed, _ = await client.list(call.resource, namespace, label_selector=call.selector or None)
    except ApiError as error:
        return error
    else:
        return listed
