#!/usr/bin/env bash
# Writes requirements.lock (what the operator runs with), requirements-build.lock (what its wheel is built with) and
# requirements-dev.lock (both and all development tools), for every Python from 3.11 on and every platform, with hashes and
# without naming an index.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
UV=0.13.8
tools=.work/lock
echo "Resolving the newest versions that pyproject.toml allows ..."
[[ -x $tools/bin/python ]] || "${PYTHON:-python3}" -m venv "$tools"
"$tools/bin/python" -m pip --disable-pip-version-check --quiet install "uv==$UV"

compile() { # compile OUTPUT SOURCE ARGUMENTS...
  local output=$1 source=$2; shift 2
  "$tools/bin/uv" pip compile "$source" --quiet --universal --python-version 3.11 --generate-hashes --only-binary :all: \
    --no-emit-index-url --no-emit-find-links --no-header --no-annotate "$@" --output-file "$output.new"
  { echo "# Written by \`make lock\`; change pyproject.toml instead."; grep -v '^scaleset-operator' "$output.new"; } >"$output"
  rm "$output.new"
}
compile requirements-dev.lock pyproject.toml --extra dev --upgrade
compile requirements.lock pyproject.toml --constraint requirements-dev.lock
# pyproject.toml names the build backend; uv takes requirements from a file only.
"$tools/bin/python" -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"], sep="\n")' >"$tools/build.in"
compile requirements-build.lock "$tools/build.in" --constraint requirements-dev.lock
if grep -n -E 'https?://' requirements*.lock; then
  echo "A lock file names a host; it must not, so that every machine can use its own index." >&2
  exit 1
fi
echo "Locked: $(grep -c '==' requirements.lock) packages to run with, $(grep -c '==' requirements-dev.lock) with the development tools."
