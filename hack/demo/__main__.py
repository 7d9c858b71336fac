"""`python -m hack.demo [embedded|kind]`: exit code 0 when every claim held, 1 when one did not, 130 after Ctrl-C.

KEEP=1 leaves cluster and operator running. NO_COLOR or an output that is no terminal: plain lines.
"""

import os
import sys

from hack.ended import NotPossibleError, end_on_signals, not_possible, undisturbed

from .embedded import Embedded
from .kind import Kind
from .place import Place
from .said import Printer
from .story import ClaimError, Story

LOG_LINES = 30
PLACES: dict[str, type[Embedded | Kind]] = {"embedded": Embedded, "kind": Kind}


def main() -> int:
    end_on_signals()
    where = (sys.argv[1:] or ["embedded"])[0]
    if where not in PLACES or len(sys.argv) > 2:
        print(f"usage: python -m hack.demo [{'|'.join(PLACES)}]", file=sys.stderr)
        return 2
    try:
        place = PLACES[where].prepared()
    except NotPossibleError as error:
        return not_possible(error)
    return _play(place)


def _play(place: Place) -> int:
    printer = Printer()
    story = Story(printer, place)
    keep = bool(os.environ.get("KEEP"))
    code = 1
    try:
        story.tell()
        printer.blank()
        printer.step(f"All {story.checks} claims held, in {printer.elapsed:.0f} s.")
        if not keep:
            printer.blank()
            printer.step(f"To look around: KEEP=1 make {place.target} leaves everything running and says how, such as")
            print(f"  {place.kubectl('NAME')} get sset", flush=True)
        code = 0
    except ClaimError as error:
        printer.wrong(str(error))
        _show_log(place)
    except NotPossibleError as error:
        not_possible(error)
        _show_log(place)
    except KeyboardInterrupt:
        print("\nInterrupted.", flush=True)
        keep, code = False, 130
    except SystemExit as error:
        keep, code = False, int(str(error.code))
    except BaseException:
        _show_log(place)
        raise
    finally:
        if story.world:
            story.world.close()
        _leave(place, keep=keep)
    return code


def _leave(place: Place, *, keep: bool) -> None:
    """Cleans up, or says what is left and how to delete it."""
    look = f"  {place.kubectl(place.name)} get sset"
    if keep:
        place.keep()
        print(f"\nThe cluster and the operator keep running. Look around, or publish a version of your own:\n{look}")
        print(f"  {place.metrics_command()}\nDelete both:\n  {place.delete_command()}", flush=True)
        return
    undisturbed()
    print(f"\nDeleting cluster {place.name} ...", flush=True)
    try:
        place.delete()
    except NotPossibleError as error:
        print(f"{error}\nTry again: {place.delete_command()}", file=sys.stderr)


def _show_log(place: Place) -> None:
    if found := place.operator_log(LOG_LINES):
        print(f"\nThe last {len(found)} lines of the operator's log:", *found, sep="\n  ", flush=True)


if __name__ == "__main__":
    sys.exit(main())
