#!/usr/bin/env bash
# Gets oras, which attaches the bill of materials to what is pushed, and prints where it is. Built once from its Go module.
#   oras.sh
set -euo pipefail
version=v1.3.6
folder="${XDG_CACHE_HOME:-$HOME/.cache}/scaleset-oras/$version"
mkdir -p "$folder"
exec 9>"$folder/.lock" # twice at once: the second one waits, and finds it done
flock 9
if [[ ! -x $folder/oras ]]; then
  command -v go >/dev/null || { echo "Go was not found: install it; it builds oras, which attaches the bill of materials." >&2; exit 1; }
  echo "Building oras $version (half a minute, once) ..." >&2
  (cd / && CGO_ENABLED=0 GOBIN="$folder" GOFLAGS="${GOFLAGS:-} -trimpath" go install -ldflags "-s -w" "oras.land/oras/cmd/oras@$version") 9>&-
fi
echo "$folder/oras"
