"""The controllers under test as processes of this machine: started, stopped, and asked what they used."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Self

TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Command:
    """How a controller is started. `environment` comes on top of our own."""

    arguments: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Usage:
    """What they used since `Controllers.reset`: seconds of processor time, and the largest resident size in MiB."""

    cpu: float
    memory: float


class ControllerDiedError(Exception):
    """A controller ended while it was needed."""


class Controllers:
    """`with Controllers(commands, log) as controllers:` they run; afterwards they do not. They are counted together."""

    def __init__(self, commands: Sequence[Command], log: Path) -> None:
        self._commands, self._log = commands, log
        self._processes: list[subprocess.Popen[bytes]] = []
        self._cpu = 0.0

    def __enter__(self) -> Self:
        with self._log.open("ab") as log:
            for command in self._commands:
                process = subprocess.Popen(
                    list(command.arguments),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env={**os.environ, **command.environment},
                )
                self._processes.append(process)
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Ends them, as a cluster would; nothing is left of them then."""
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            try:
                process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(timeout=10)

    def check(self) -> None:
        """Raises ControllerDiedError with the last lines of the log if one of them is no more."""
        for command, process in zip(self._commands, self._processes, strict=True):
            if (code := process.poll()) is not None:
                lines = self._log.read_text(errors="replace").splitlines()
                name = Path(command.arguments[0]).name
                raise ControllerDiedError(f"{name} ended with code {code}: {' | '.join(lines[-2:])[-300:]}")

    def reset(self) -> None:
        """From now on `usage` counts."""
        self._cpu = sum(_cpu(pid) for pid in self._pids)
        for pid in self._pids:
            Path(f"/proc/{pid}/clear_refs").write_text("5")  # the largest size so far is forgotten

    def usage(self) -> Usage:
        return Usage(
            cpu=sum(_cpu(pid) for pid in self._pids) - self._cpu, memory=sum(_largest(pid) for pid in self._pids)
        )

    @property
    def _pids(self) -> list[int]:
        self.check()
        return [process.pid for process in self._processes]


class MachineLoad(NamedTuple):
    """Jiffies of all processors together, since the machine started."""

    busy: int
    total: int

    @classmethod
    def now(cls) -> Self:
        fields = [int(each) for each in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
        idle = fields[3] + fields[4]
        return cls(busy=sum(fields) - idle, total=sum(fields))

    def since(self, before: Self) -> float:
        """The share of the processors, 0 to 1, that was in use between the two."""
        return (self.busy - before.busy) / max(1, self.total - before.total)


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def _largest(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:")) / 1024
