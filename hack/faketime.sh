#!/usr/bin/env bash
# Makes sure that Debian's faketime is there: the fault tests run operators whose wall clock is wrong.
set -euo pipefail
if compgen -G '/usr/lib/*/faketime/libfaketime.so.1' >/dev/null; then exit; fi
if [[ $EUID -ne 0 ]] || ! command -v apt-get >/dev/null; then
  echo "The fault tests need libfaketime: install the package faketime and start again." >&2
  exit 1
fi
echo "Installing the package faketime ..."
{ apt-get update && apt-get install --yes --no-install-recommends faketime; } >/dev/null
