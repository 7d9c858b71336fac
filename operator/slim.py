"""Run once while the image is built: takes the generated classes of the kubernetes package away that nothing loads.

There is one module for each of about 700 models and 60 APIs, twice: 120 MB of source and bytecode, where the image with
everything else has 163 MB. Each node would store them, and a pull would be 9 MB longer. The operator sends and reads
raw JSON, so it loads three of them. The package loads each one at its first use, and the operator is loaded here, so
what it needs stays.

Why not depend on less: what is used of the package (kubeconfigs with exec plugins, tokens that are renewed, TLS) comes
in no smaller one, and is not ours to write again.
"""

import sys
from pathlib import Path

import scaleset.__main__  # noqa: F401 - for what it loads

used = {module.__file__ for module in list(sys.modules.values()) if getattr(module, "__file__", None)}
package = Path(sys.modules["kubernetes"].__file__ or "").parent
for half in (package, package / "aio"):
    for folder in (half / "client" / "api", half / "client" / "models"):
        for path in folder.glob("*.py"):
            if path.name != "__init__.py" and str(path) not in used:
                path.unlink()
for test in (*package.rglob("*_test.py"), *package.rglob("test_*.py")):
    test.unlink()
