"""`kubectl-scaleset`, which kubectl runs as `kubectl scaleset`."""

import os
import sys
from collections.abc import Sequence
from io import TextIOWrapper

from kubectl_scaleset.failures import INTERRUPTED, CliError

BROKEN_PIPE = 141
"""Exit code, as in a shell, of a program that wrote to a closed pipe."""
_HELP = ("-h", "--help")


def main() -> None:
    """Run and exit."""
    sys.exit(run(sys.argv[1:]))


def completion() -> None:
    """`kubectl_complete-scaleset`, which kubectl runs for what can follow the words on the command line."""
    sys.exit(run(["__complete", *sys.argv[1:]]))


def run(arguments: Sequence[str]) -> int:
    """Run a verb and return its exit code. A problem that a person can solve never prints a stack trace."""
    for stream in (sys.stdout, sys.stderr):
        # Foreign text must not cause an error if the terminal cannot encode it.
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        code = _run(list(arguments))
        sys.stdout.flush()
    except KeyboardInterrupt:
        code = INTERRUPTED
    except BrokenPipeError:
        # Python flushes the rest at exit, and would report an error.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except CliError as error:
        sys.stderr.write(f"Error: {error}\n")
        return error.code
    if code == INTERRUPTED:
        sys.stderr.write("\n")
    return code


def _run(arguments: list[str]) -> int:
    try:
        import click
    except ModuleNotFoundError as error:
        raise CliError("kubectl scaleset needs click and rich: pip install kubectl-scaleset.") from error

    from kubectl_scaleset.app import PROGRAM, app

    if arguments[:1] == ["__complete"]:
        from kubectl_scaleset.completing import complete

        sys.stdout.write(complete(app, arguments[1:]))
        return 0
    try:
        with app.make_context(PROGRAM, flags_last(arguments) or ["--help"]) as context:
            answer = app.invoke(context)
    except click.exceptions.Exit as ended:
        return ended.exit_code
    except click.ClickException as error:
        of = error.ctx if isinstance(error, click.UsageError) else None
        raise CliError(_usage(error.format_message(), of.command_path if of is not None else PROGRAM)) from error
    except click.Abort as error:
        raise KeyboardInterrupt from error
    return answer if isinstance(answer, int) else 0


def flags_last(arguments: list[str]) -> list[str]:
    """kubectl takes its flags before the verb as well: `-n shop get web` is `get web -n shop`."""
    from kubectl_scaleset.completing import WITH_VALUE

    flags: list[str] = []
    rest = list(arguments)
    while rest and rest[0].startswith("-") and rest[0] not in (*_HELP, "--"):
        count = 2 if rest[0] in WITH_VALUE else 1
        flags, rest = flags + rest[:count], rest[count:]
    return [rest[0], *flags, *rest[1:]] if rest and flags else [*flags, *rest]


def _usage(message: str, where: str) -> str:
    """The message, and whose help to read."""
    message = message.strip() or "Nothing to do"
    end = "" if message.endswith((".", "?", "!")) else "."
    return f"{message}{end} See {where} --help."


if __name__ == "__main__":
    main()
