"""The operator's source as the tables read it: each module as a tree, with its constants."""

import ast
from collections.abc import Iterator

from hack.reference.markdown import ROOT

SOURCE = ROOT / "operator" / "src" / "scaleset"


def modules() -> Iterator[tuple[ast.Module, dict[str, object]]]:
    """Each module, and what the names at its top level stand for where that is a literal."""
    for path in sorted(SOURCE.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        constants: dict[str, object] = {
            target.id: node.value.value
            for node in tree.body
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        yield tree, constants
