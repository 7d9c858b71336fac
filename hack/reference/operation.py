"""Tables about running the operator: conditions, labels and annotations, rights, flags, alerts, values of the chart.

Which conditions, reasons, labels and annotations there are is read from the code; what they mean is in meanings.yaml.
"""

import argparse
import ast
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from hack.chart.readme import table as values_table
from hack.chart.values import read
from hack.monitoring.rules import rules
from hack.reference.markdown import ROOT, prose, rows
from hack.reference.source import SOURCE, modules
from scaleset.__main__ import parser
from scaleset.api import names
from scaleset.planner import rollout_end
from scaleset.planner.state import Code

MEANINGS = Path(__file__).with_name("meanings.yaml")
INSTALL = ROOT / "deploy" / "install.yaml"
VALUES = ROOT / "charts" / "scaleset-operator" / "values.yaml"
TRANSCRIPT = ROOT / "docs" / "cli.txt"
WORD = re.compile(r"([A-Z][a-z]+)+")


def tables() -> dict[str, dict[str, str]]:
    """Every table by its page and the name of its marks."""
    meanings = yaml.safe_load(MEANINGS.read_text(encoding="utf-8"))
    conditions = meanings["conditions"]
    _complete("reason", set(meanings["reasons"]), reasons(conditions["ScaleSet"]))
    _complete("label", set(meanings["labels"]), _constants(names, "LABEL_"))
    _complete("annotation", set(meanings["annotations"]), _constants(names, "ANNOTATION_"))
    _complete("error", set(meanings["errors"]), _errors())
    return {
        "reference/conditions.md": {
            **{kind.lower(): rows(("Condition", "True means"), _code(of)) for kind, of in conditions.items()},
            "reasons": rows(("Reason", "Of", "Meaning", "What to do"), _reasons(meanings["reasons"])),
            "errors": rows(("Code", "Meaning"), _code(meanings["errors"])),
        },
        "reference/labels.md": {
            "labels": rows(("Label", "On", "Written by", "Meaning"), _marks(meanings["labels"])),
            "annotations": rows(("Annotation", "On", "Written by", "Meaning"), _marks(meanings["annotations"])),
        },
        "reference/rights.md": {
            "operator": rows(("Where", "Resources", "Verbs"), _rights("operator")),
            "people": rows(("Role", "Resources", "Verbs"), _rights("users")),
        },
        "reference/flags.md": {"flags": rows(("Flag", "Default", "Meaning"), _flags(parser()))},
        "reference/alerts.md": {"alerts": rows(("Alert", "Severity", "For", "Fires when"), _alerts())},
        "index.md": {"transcript": transcript()},
        "reference/chart.md": {"values": values_table(read(VALUES))},
    }


def transcript() -> str:
    """How a rollout is watched: of the recorded session the part until the rollout has ended."""
    text = TRANSCRIPT.read_text(encoding="utf-8")
    begin = text.index("$ kubectl scaleset get web -w\n")
    end = text.index("\n", text.index(" web: Completed ", begin)) + 1
    return f"```text\n{text[begin:end]}```\n"


def _complete(what: str, told: set[str], there: set[str]) -> None:
    if missing := sorted(there - told):
        raise ValueError(f"hack/reference/meanings.yaml says nothing of the {what} {', '.join(missing)}")
    if gone := sorted(told - there):
        raise ValueError(f"hack/reference/meanings.yaml has the {what} {', '.join(gone)}, which no code gives")


def reasons(types: Collection[str]) -> set[str]:
    """Every reason of a condition or of waitingFor in the source. `types` are those of the conditions of a set."""
    found = {str(code) for code in Code}
    for tree, constants in modules():
        for call in ast.walk(tree):
            if isinstance(call, ast.Call):
                found |= {word for node in _reason_of(call) for word in _words(node, constants)}
    return (found | _of_sets()) - (set(types) - {"Accepted"})


def _reason_of(call: ast.Call) -> Iterator[ast.expr]:
    """The argument of a call that is a reason."""
    name = call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")
    if name in ("Waiting", "Acceptance") and call.args:
        yield call.args[0]
    if name == "condition" and len(call.args) > 3:
        yield call.args[2]
    if name == "Condition":
        yield from (keyword.value for keyword in call.keywords if keyword.arg == "reason")


def _words(node: ast.expr, constants: Mapping[str, object]) -> Iterator[str]:
    for part in ast.walk(node):
        value = part.value if isinstance(part, ast.Constant) else constants.get(getattr(part, "id", ""))
        if isinstance(value, str) and WORD.fullmatch(value):
            yield value


def _of_sets() -> set[str]:
    """Words of one piece in planner/conditions.py: types and reasons. All else there is a sentence or a key."""
    tree = ast.parse((SOURCE / "planner" / "conditions.py").read_text(encoding="utf-8"))
    given = (node.value for node in ast.walk(tree) if isinstance(node, ast.Constant))
    return {value for value in given if isinstance(value, str) and WORD.fullmatch(value)} - {"True", "False", "Manual"}


def _errors() -> set[str]:
    codes = (value for name, value in vars(rollout_end).items() if name.isupper() and isinstance(value, str))
    return {code for code in codes if WORD.fullmatch(code)}


def _constants(module: object, prefix: str) -> set[str]:
    return {value for name, value in vars(module).items() if name.startswith(prefix)}


def _code(of: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for name, meaning in of.items():
        yield f"`{name}`", meaning


def _reasons(meanings: Mapping[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    for reason, row in sorted(meanings.items()):
        yield f'<a id="{reason}"></a>`{reason}`', ", ".join(row["of"]), row["means"], row["do"]


def _marks(meanings: Mapping[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    for name, row in meanings.items():
        yield f"`{name}`", row["where"], row["by"], row["means"]


def _rights(of: str) -> Iterator[tuple[str, str, str]]:
    """The rules of the roles in deploy/install.yaml: those of the operator, or those for people."""
    for each in yaml.safe_load_all(INSTALL.read_text(encoding="utf-8")):
        if each is None or each["kind"] not in ("Role", "ClusterRole"):
            continue
        if each["metadata"]["labels"]["app.kubernetes.io/component"] != of:
            continue
        where = f"`{each['metadata']['name']}`"
        if of == "operator":
            where = "cluster" if each["kind"] == "ClusterRole" else "its own namespace"
        for rule in each["rules"]:
            group = "".join(f"{name}/" for name in rule["apiGroups"] if name)
            what = ", ".join(f"`{group}{resource}`" for resource in rule["resources"])
            if only := rule.get("resourceNames"):
                what += f" named {', '.join(f'`{name}`' for name in only)}"
            yield where, what, ", ".join(rule["verbs"])


def _flags(command: argparse.ArgumentParser) -> Iterator[tuple[str, str, str]]:
    for action in command._actions:  # noqa: SLF001 - argparse has no other way to list them
        flags = ", ".join(f"`{flag}`" for flag in action.option_strings)
        if action.metavar:
            flags = f"`{action.option_strings[-1]} {action.metavar}`"
        text = (action.help or "") % {**vars(action), "prog": command.prog}
        meaning, _, default = text.rpartition("default: ") if "default: " in text else (text, "", "")
        if action.choices:
            meaning = f"one of {', '.join(f'`{choice}`' for choice in action.choices)}"
        shown = default or (f"{action.default}".lower() if isinstance(action.default, bool) else "")
        yield flags, shown, meaning.rstrip("; ")


def _alerts() -> Iterator[tuple[str, str, str, str]]:
    for group in rules()["groups"]:
        for rule in group["rules"]:
            if name := rule.get("alert"):
                lasting = rule.get("for", "at once")
                text = prose(re.sub(r"{{ \$labels\.(\w+) }}", r"`\1`", rule["annotations"]["description"]))
                yield f"[{name}](../runbooks/{name}.md)", rule["labels"]["severity"], lasting, text
