"""A registry on this machine that the node of a kind cluster reaches by the same address."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hack.ports import reserve_port
from tests.kind.harness.cluster import KindCluster, output
from tests.registry import registry


@contextmanager
def reachable_registry(cluster: KindCluster, folder: Path) -> Iterator[str]:
    """Its `localhost:port`. It speaks HTTP, which containerd and docker take from localhost."""
    port = reserve_port(cluster)
    with registry(folder, f":{port}"):
        gateway = cluster.on_node("ip -4 route show default").split()[2]
        forward = f"socat TCP-LISTEN:{port},bind=127.0.0.1,fork,reuseaddr TCP:{gateway}:{port}"
        output(["docker", "exec", "--detach", cluster.node, "sh", "-c", forward])
        yield f"localhost:{port}"
