"""A mutating webhook that meddles with every new pod of a namespace, as sidecar injectors and registry mirrors do."""

import base64
import json
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from aiohttp import web

from tests.cluster.harness.api import Api, Items, Json
from tests.cluster.harness.webhook import registered

from .components import Component
from .proxy import shared_loop

Change = Callable[[Json, int], Items]
"""What is done to a pod, as a JSON patch; the number says how many came before it."""


def sidecar_and_mirror(pod: Json, _: int) -> Items:
    """Adds a container, and takes the first image from a mirror."""
    image = str(pod["spec"]["containers"][0]["image"])
    return [
        {
            "op": "add",
            "path": "/spec/containers/-",
            "value": {"name": "sidecar", "image": "mirror.example/proxy:1"},
        },
        {"op": "replace", "path": "/spec/containers/0/image", "value": image.replace("registry.", "mirror.", 1)},
    ]


class Webhook:
    """Changes each pod."""

    def __init__(self, change: Change) -> None:
        self.count = 0
        self._change = change

    async def answer(self, request: web.Request) -> web.Response:
        review = await request.json()
        patch = self._change(review["request"]["object"], self.count)
        self.count += 1
        body = base64.b64encode(json.dumps(patch).encode()).decode()
        answer = {"uid": review["request"]["uid"], "allowed": True, "patchType": "JSONPatch", "patch": body}
        return web.json_response({"apiVersion": review["apiVersion"], "kind": review["kind"], "response": answer})


@contextmanager
def meddling(api: Api, server: Component, namespace: str, change: Change = sidecar_and_mirror) -> Iterator[Webhook]:
    """Inside, new pods of the namespace are changed on their way. The API server's own certificate serves for it."""
    webhook, runners = Webhook(change), []
    keys = server.folder / "pki"

    async def start() -> int:
        app = web.Application()
        app.router.add_post("/", webhook.answer)
        runner = web.AppRunner(app, access_log=None)
        runners.append(runner)
        await runner.setup()
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(keys / "admin.crt", keys / "admin.key")
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
        return int(runner.addresses[0][1])

    port = shared_loop().run(start())
    try:
        with registered(api, namespace, "meddle", port=port, keys=keys):
            yield webhook
    finally:
        shared_loop().run(runners[0].cleanup())
