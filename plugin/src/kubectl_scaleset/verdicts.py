"""Why a rollout ended, in a sentence of ours, and what to do next. Pure.

Azure's own text has some fifty words; it stays in the status and in -o az-json.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from kubectl_scaleset.failed_sets import BY_USER
from kubectl_scaleset.pictures import SetView

JSON = Mapping[str, Any]

UPGRADED = "MaxUnhealthyUpgradedInstancePercentExceededInRollingUpgrade"
GATES = (
    "MaxUnhealthyInstancePercentExceededBeforeRollingUpgrade",
    "MaxUnhealthyInstancePercentExceededInRollingUpgrade",
)
TIMEOUT = "RollingUpgradeTimeoutError"
_SHORT = {
    TIMEOUT: "took longer than upgradeTimeout",
    UPGRADED: "too many upgraded instances failed",
    GATES[0]: "too many instances were unhealthy before",
    GATES[1]: "too many instances were unhealthy",
}
_CONTAINER = re.compile(r"container (?P<name>\S+): (?P<reason>[A-Za-z]+)(?:[:,] .*)?")
_EXIT = re.compile(r"\((?P<exit>last exit code \d+)[^)]*\)$")
_CHANGING = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}|\d+")
MOST_LETTERS = 120


def verdict(found: SetView) -> str:
    """Why the last rollout did not complete; empty if it did, or if there is none."""
    error = found.rollout.get("error") or {}
    code = str(error.get("code") or "")
    if code == UPGRADED:
        return f"{_failures(found)} {_aftermath(found)}".rstrip()
    if code in GATES:
        cause = cause_of(str(each.get("message") or "") for each in error.get("details") or ())
        limit = (found.rollout.get("policy") or {}).get("maxUnhealthyInstancePercent")
        when = "before the first batch" if code == GATES[0] else "before the next batch"
        text = f"More than {limit} % of the instances were unhealthy {when}"
        return f"{text}{f': {cause}' if cause else ''}."
    if code == TIMEOUT:
        return f"{str(error.get('message') or code).partition(': ')[2]} {_not_again(found)}".strip().capitalize()
    if error:
        return str(error.get("message") or code)
    ending = found.rollout.get("ending") or {}
    return str(ending.get("message") or "") if found.code == "Cancelled" else ""


def spoken(found: SetView) -> str:
    """What is waited for, in a sentence: of a rollout that ended as Faulted our own one."""
    reason, message = found.waiting
    return verdict(found) or message if reason == "RolloutFaulted" else message


def _failures(found: SetView) -> str:
    failed, whole = found.count("failed"), found.count("failed") + found.count("successful")
    limit = (found.rollout.get("policy") or {}).get("maxUnhealthyUpgradedInstancePercent")
    cause = cause_of(str(each.get("message") or "") for each in found.rollout.get("messages") or ())
    return f"{failed} of {whole} upgraded instances failed (limit {limit} %){f': {cause}' if cause else ''}."


def _aftermath(found: SetView) -> str:
    failed, restored = found.ids("failed"), found.ids("restored")
    back = (
        "Restored"
        if failed and failed == restored
        else f"{len(restored)} restored, {len(failed - restored)} not"
        if restored
        else "Not restored"
    )
    again = _not_again(found)
    return f"{back}; {again}" if again else f"{back}."


def _not_again(found: SetView) -> str:
    return f"{found.target} is not tried again by itself." if found.target and remembered(found) else ""


def remembered(found: SetView) -> bool:
    """Whether the rollout's target is one that failed here and is not tried again by itself."""
    from scaleset.planner.gallery import same

    rows = found.status.get("failedTargets") or ()
    return any(same(row.get("version"), found.target) and row.get("reason") not in BY_USER for row in rows)


def next_step(found: SetView) -> str:
    """What a person can do about a rollout that did not complete; empty if there is nothing to do."""
    if found.code not in ("Faulted", "Cancelled"):
        return ""
    name, code = found.name, str((found.rollout.get("error") or {}).get("code") or "")
    if code in GATES:
        return f"kubectl scaleset get {name} shows the unhealthy instances; once they are well it is tried again."
    if code == UPGRADED and found.ids("failed") - found.ids("restored"):
        return f"kubectl scaleset rollback {name}, or publish a newer version."
    if code in (UPGRADED, TIMEOUT) or found.code == "Cancelled":
        return f"publish a newer version; or kubectl scaleset retry {name}, to try this one again."
    return ""


def cause_of(messages: Iterable[str]) -> str:
    """The most frequent message, shortened: the container, the reason, the exit code."""
    shortened = [short(each) for each in messages if each]
    if not shortened:
        return ""
    most = Counter(map(alike, shortened)).most_common(1)[0][0]
    return next(each for each in shortened if alike(each) == most)


def short(message: str) -> str:
    """`[app] CrashLoopBackOff (last exit code 1)` of the kubelet's sentence about a container."""
    found = _CONTAINER.fullmatch(message)
    if found is None:
        cut = message if len(message) <= MOST_LETTERS else message[:MOST_LETTERS].rpartition(" ")[0] + "…"
        return cut.rstrip(".")
    ended = _EXIT.search(message)
    exit_code = f" ({ended['exit']})" if ended else ""
    return f"[{found['name']}] {found['reason']}{exit_code}"


def short_code(code: str) -> str:
    """Azure's error code as words, for a column."""
    return _SHORT.get(code, code)


def alike(message: str) -> str:
    """The message without what differs from pod to pod: equal for instances that fail in the same way."""
    return _CHANGING.sub("#", message)
