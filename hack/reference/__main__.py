"""`python -m hack.reference` writes the pages, `--check` says which of them are not what the code says."""

import argparse
import sys

from hack.reference import pages
from hack.reference.markdown import ROOT


def main() -> None:
    command = argparse.ArgumentParser(prog="python -m hack.reference", description="Writes what is generated of docs/.")
    command.add_argument("--check", action="store_true", help="write nothing; exit code 1 if a page is outdated")
    check = command.parse_args().check
    outdated = {path: text for path, text in pages().items() if not path.exists() or path.read_text("utf-8") != text}
    if check and outdated:
        sys.exit(f"outdated: {', '.join(str(path.relative_to(ROOT)) for path in outdated)}. Run make reference.")
    for path, text in outdated.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        print(f"wrote {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
