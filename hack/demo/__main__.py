"""`python -m hack.demo`: exit code 0 when every claim held, 1 when one did not, 130 after Ctrl-C.

KEEP=1 leaves cluster and operator running. NO_COLOR, CI or an output that is no terminal: plain lines.
"""

import os
import signal
import sys
from types import FrameType

from .embedded import Embedded, NotPossibleError, binaries
from .journal import Journal
from .screen import Screen, wants_live
from .story import ClaimError, Story

LOG_LINES = 30
ENDINGS = (signal.SIGTERM, signal.SIGHUP)


def main() -> int:
    for number in ENDINGS:
        signal.signal(number, _end)
    screen = Screen(live=wants_live(os.environ))
    journal = Journal(screen.say)
    try:
        embedded = Embedded(binaries())
    except NotPossibleError as error:
        return _not_possible(error)
    story = Story(journal, embedded)
    keep = bool(os.environ.get("KEEP"))
    code = 1
    try:
        with screen.live(story, journal):
            story.tell()
        journal.add("blank")
        journal.add("step", f"All {story.checks} claims held, in {journal.elapsed:.0f} s.")
        if not keep:
            journal.add("blank")
            journal.add("step", "To look around: KEEP=1 make demo leaves everything running and says how, such as")
            journal.add("table", f"{embedded.kubectl('NAME')} get sset")
        code = 0
    except ClaimError as error:
        journal.add("wrong", str(error))
        _show_log(embedded)
    except NotPossibleError as error:
        _not_possible(error)
        _show_log(embedded)
    except KeyboardInterrupt:
        print("\nInterrupted.", flush=True)
        keep, code = False, 130
    except SystemExit as error:
        keep, code = False, int(str(error.code))
    except BaseException:
        _show_log(embedded)
        raise
    finally:
        if story.world:
            story.world.close()
        _leave(embedded, keep=keep)
    return code


def _leave(embedded: Embedded, *, keep: bool) -> None:
    """Cleans up, or says what is left and how to delete it."""
    look = f"  {embedded.kubectl(embedded.name)} get sset"
    if keep:
        embedded.keep()
        print(f"\nThe cluster and the operator keep running. Look around, or publish a version of your own:\n{look}")
        print(f"  curl {embedded.metrics}/metrics\nDelete both:\n  {embedded.delete_command()}", flush=True)
        return
    for number in (signal.SIGINT, *ENDINGS):
        signal.signal(number, signal.SIG_IGN)  # a second Ctrl-C leaves nothing half deleted
    print(f"\nDeleting cluster {embedded.name} ...", flush=True)
    try:
        embedded.delete()
    except NotPossibleError as error:
        print(f"{error}\nTry again: {embedded.delete_command()}", file=sys.stderr)


def _show_log(embedded: Embedded) -> None:
    if found := embedded.operator_log(LOG_LINES):
        print(f"\nThe last {len(found)} lines of the operator's log:", *found, sep="\n  ", flush=True)


def _not_possible(error: NotPossibleError) -> int:
    if str(error):
        print(error, file=sys.stderr, flush=True)
    return 1


def _end(number: int, _: FrameType | None) -> None:
    sys.exit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
