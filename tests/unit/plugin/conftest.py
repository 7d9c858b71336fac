"""A server that answers as a cluster, path by path, and the kubeconfig that leads to it."""

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

Json = dict[str, Any]


@dataclass
class Answers:
    """What the server says: the answer of the first path that a request's path contains. `asked` are the requests."""

    url: str = ""
    config: Path = Path()
    given: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    asked: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)

    def __call__(self, path: str, body: bytes | str | Json, *, status: int = 200) -> None:
        text = json.dumps(body) if isinstance(body, dict) else body
        self.given[path] = (status, text.encode() if isinstance(text, str) else text)

    def of(self, path: str) -> tuple[int, bytes]:
        return next((answer for part, answer in self.given.items() if part in path), (404, b"404 page not found\n"))


def listed(*items: Json) -> Json:
    return {"kind": "List", "metadata": {"resourceVersion": "1"}, "items": list(items)}


@pytest.fixture
def answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Answers]:
    found = Answers()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found.asked.append((self.command, self.path, dict(self.headers)))
            status, body = found.of(self.path)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Quiet."""

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    found.url, found.config = f"http://127.0.0.1:{http.server_port}", tmp_path / "kubeconfig"
    found.config.write_text(yaml.safe_dump(kubeconfig(found.url, {"token": "secret-token"})))
    monkeypatch.setenv("KUBECONFIG", str(found.config))
    yield found
    http.shutdown()
    http.server_close()
    thread.join()


def kubeconfig(server: str, user: Json, **cluster: object) -> Json:
    return {
        "current-context": "test",
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "me", "namespace": "shop"}}],
        "clusters": [{"name": "test", "cluster": {"server": server, **cluster}}],
        "users": [{"name": "me", "user": user}],
    }
