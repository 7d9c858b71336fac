"""The words of kubectl, Argo Rollouts, CloudNativePG and az for what is called differently here."""

import difflib
from collections.abc import Collection, Sequence
from typing import Final

from kubectl_scaleset.failures import CliError

_INSTEAD: Final = {
    "apply": "Objects are applied by kubectl apply -f FILE; kubectl scaleset lint -f FILE checks them first.",
    "continue": "A set goes on by kubectl scaleset resume NAME.",
    "create": "Sets are created by kubectl apply -f FILE; a version by kubectl scaleset publish.",
    "delete": "Sets are deleted by kubectl delete sset NAME; a version is withdrawn by kubectl scaleset exclude.",
    "describe": "A set is shown by kubectl scaleset get NAME, its conditions by kubectl describe sset NAME.",
    "diff": "What would happen is shown by kubectl scaleset plan NAME.",
    "edit": "A set is edited by kubectl edit sset NAME.",
    "events": "Events are listed by kubectl events --for sset/NAME.",
    "hibernate": "Rollouts pause by kubectl scaleset suspend NAME; instances are scaled by kubectl scale sset NAME.",
    "ls": "Sets are listed by kubectl scaleset list.",
    "promote": (
        "A rollout goes on by itself after each healthy batch: kubectl scaleset resume NAME lifts a suspension, "
        "kubectl scaleset start NAME starts one by hand."
    ),
    "reload": "All instances are made again in batches by kubectl scaleset restart NAME.",
    "rolling-upgrade": "az's rolling-upgrade start, cancel and get-latest are the verbs start, cancel and latest.",
    "scale": "A set is scaled by kubectl scale sset NAME --replicas=N.",
    "set set-image": (
        "A version is published by kubectl scaleset publish, and chosen by kubectl scaleset pin NAME VERSION."
    ),
    "show": "A set is shown by kubectl scaleset get NAME.",
    "stop": "Rollouts pause by kubectl scaleset suspend NAME, and end by kubectl scaleset cancel NAME.",
    "terminate": "A rollout ends by kubectl scaleset cancel NAME.",
    "unpublish withdraw": "A version is withdrawn by kubectl scaleset exclude PUBLISHER/OFFER/SKU VERSION.",
    "update update-instances": "The newest model reaches instances by kubectl scaleset apply-model NAME ID...",
    "upgrade": "A rollout to the latest version starts by kubectl scaleset start NAME.",
    "validate": "A file is checked by kubectl scaleset lint -f FILE.",
    "wait": "A rollout is waited for by kubectl scaleset status NAME --watch.",
    "watch": "A rollout is watched by kubectl scaleset get NAME -w.",
}
"""Words, and the sentence about them."""


def unknown(words: Sequence[str], verbs: Collection[str]) -> CliError:
    """The error for a line that begins with no verb of ours."""
    name = words[0]
    said = f"No such command {name!r}."
    if name == "rollout" and len(words) > 1 and words[1] in verbs:
        return CliError(f"{said} kubectl's rollout {words[1]} is kubectl scaleset {words[1]} NAME here.")
    if (instead := next((text for names, text in _INSTEAD.items() if name in names.split()), None)) is not None:
        return CliError(f"{said} {instead}")
    close = difflib.get_close_matches(name, verbs, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return CliError(f"{said}{hint} See kubectl scaleset --help.")
