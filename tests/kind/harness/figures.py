"""What the operator uses, from its process on the node."""

from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

from .cluster import KindCluster
from .release import Release

TICKS_PER_SECOND = 100
Say = Callable[[str], None]
"""Prints a line whether or not pytest captures."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Resident memory in MiB at the end of a time, and processor cores used on average over it."""

    memory: float
    cores: float

    def __str__(self) -> str:
        return f"{self.memory:.0f} MiB, {self.cores * 1000:.0f} millicores"


class Measuring:
    """The replica that holds the lease, from when this is made until `end`."""

    def __init__(self, release: Release) -> None:
        self._cluster = release.cluster
        self._pid = process_of(release.cluster, release.holder())
        self._began, self._first = monotonic(), self._read()[1]

    def end(self) -> Usage:
        memory, seconds = self._read()
        return Usage(memory, (seconds - self._first) / (monotonic() - self._began))

    def _read(self) -> tuple[float, float]:
        """MiB now, and seconds of processor time so far."""
        memory, times = self._cluster.on_node(
            f"grep VmRSS /proc/{self._pid}/status; cut -d')' -f2 /proc/{self._pid}/stat"
        ).splitlines()
        fields = times.split()
        return int(memory.split()[1]) / 1024, (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND


def process_of(cluster: KindCluster, pod: str) -> int:
    """The operator's process on the node; POD_NAME in its environment tells whose it is."""
    mine = f'grep -qzx "POD_NAME={pod}" $each/environ 2>/dev/null'
    found = cluster.on_node(f"for each in /proc/[0-9]*; do if {mine}; then echo ${{each#/proc/}}; fi; done").split()
    assert len(found) == 1, f"expected one process of {pod} on the node, found {found or 'none'}"
    return int(found[0])
