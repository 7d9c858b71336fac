#!/usr/bin/env bash
# Makes the Python environment from a lock file: nothing but python3 (3.11 or newer) is needed, every file is checked by its
# hash, and nothing is compiled. The build backend of our own package is in the lock, too.
#   hack/venv.sh DIR LOCK
set -euo pipefail
dir=$1 lock=$2
cd "$(dirname "${BASH_SOURCE[0]}")/.."

python=
for candidate in "${PYTHON:-python3}" python3.14 python3.13 python3.12 python3.11; do
  if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then python=$candidate; break; fi
done
if [[ -z $python ]]; then
  echo "Python 3.11 or newer was not found: install it (Debian, Ubuntu: apt-get install python3 python3-venv), or name it with PYTHON=/path/to/python3." >&2
  exit 1
fi
if ! "$python" -c 'import venv, ensurepip' 2>/dev/null; then
  echo "$("$python" --version) has no venv module: install it (Debian, Ubuntu: apt-get install python3-venv)." >&2
  exit 1
fi

echo "Installing the locked Python packages into $dir (about a minute the first time) ..."
if [[ -x $dir/bin/python ]] && ! "$dir/bin/python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then rm -rf "$dir"; fi
[[ -x $dir/bin/python ]] || "$python" -m venv "$dir"
pip=("$dir/bin/python" -m pip --disable-pip-version-check --quiet)
"${pip[@]}" install --require-hashes --no-deps --only-binary :all: --requirement "$lock"
"${pip[@]}" install --no-deps --no-build-isolation --editable . --editable plugin
echo "Ready: $dir ($("$dir/bin/python" --version))."
