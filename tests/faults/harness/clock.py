"""A process whose wall clock is wrong, by the library libfaketime; its monotonic clock is right, as on any machine."""

from pathlib import Path


def wrong_clock(**settings: str) -> dict[str, str]:
    """An environment for it: `FAKETIME="+1h"`, or `FAKETIME_TIMESTAMP_FILE` to change it while the process runs."""
    libraries = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
    assert libraries, "this test needs libfaketime: run hack/faketime.sh, or install the package faketime"
    return {"LD_PRELOAD": str(libraries[0]), "FAKETIME_DONT_FAKE_MONOTONIC": "1", **settings}
