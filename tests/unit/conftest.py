"""What the tests of the API layer share: a fake API server, and a client of it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from scaleset.kube.client import Client
from tests.unit.fake_api_server import FakeApi


@pytest.fixture
async def api() -> AsyncIterator[FakeApi]:
    async with FakeApi().serve() as server:
        yield server


@pytest.fixture
async def client(api: FakeApi, tmp_path: Path) -> AsyncIterator[Client]:
    async with await Client.open(api.kubeconfig(tmp_path)) as opened:
        yield opened
