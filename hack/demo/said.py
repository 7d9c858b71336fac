"""What the demo says, in lines with the seconds since it began, and the plugin's commands with what they print."""

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic

from rich.console import Console
from rich.text import Text

WIDTH = 100
PLUGIN = [sys.executable, "-m", "kubectl_scaleset"]


class Printer:
    """Lines on standard output, coloured only on a terminal, and as wide as it is or 100 columns."""

    def __init__(self) -> None:
        self._console = Console(highlight=False)
        self._width = min(WIDTH, self._console.width) if self._console.is_terminal else WIDTH
        self._start = monotonic()

    @property
    def elapsed(self) -> float:
        return monotonic() - self._start

    def step(self, title: str) -> None:
        self._print("", title, "bold")

    def about(self, text: str) -> None:
        self._print("  ", text)

    def ok(self, text: str) -> None:
        self._print(f"{self.elapsed:6.1f} s  ok  ", text, "green")

    def wrong(self, text: str) -> None:
        self._print(f"{self.elapsed:6.1f} s  WRONG  ", text, "bold red")

    def blank(self) -> None:
        self._print("", "")

    def command(self, text: str) -> None:
        """In one line, so that it can be copied."""
        self._console.print(Text(f"$ {text}", "bold"), soft_wrap=True)

    def _print(self, head: str, text: str, style: str = "") -> None:
        """Continued lines stand below the text, and no word is lost."""
        rest = " " * len(head)
        wrapped = textwrap.wrap(text, self._width, initial_indent=head, subsequent_indent=rest, break_on_hyphens=False)
        for line in wrapped or [""]:
            self._console.print(Text(line, style), soft_wrap=True)


class Plugin:
    """`kubectl scaleset` as a person would type it: the command is shown, then what it prints."""

    def __init__(self, printer: Printer, kubeconfig: Path) -> None:
        self._printer = printer
        self._environment = os.environ | {"KUBECONFIG": str(kubeconfig)}

    def run(self, *arguments: str) -> int:
        with self.running(*arguments) as command:
            return command.wait()

    @contextmanager
    def running(self, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
        """A command that goes on by itself, and is ended with the block."""
        self._printer.blank()
        self._printer.command(f"kubectl scaleset {' '.join(arguments)}")
        command = subprocess.Popen([*PLUGIN, *arguments], env=self._environment, stdin=subprocess.DEVNULL)
        try:
            yield command
        finally:
            _end(command)


def _end(command: subprocess.Popen[bytes]) -> None:
    """As Ctrl-C does, which reaches it by itself (0): a live view makes the cursor visible again."""
    for number in (0, signal.SIGINT, signal.SIGKILL):
        command.send_signal(number)
        with suppress(subprocess.TimeoutExpired):
            command.wait(timeout=2)
            return
