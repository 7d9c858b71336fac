#!/usr/bin/env bash
# Gets a registry for images and charts, which the tests of a release start, and prints where it is. That of Debian is unpacked, not
# installed, so that nothing is started; where there is no apt-get it is built from its Go module. Got once.
#   registry.sh
set -euo pipefail
version=v3.1.2
folder="${XDG_CACHE_HOME:-$HOME/.cache}/scaleset-registry"
program="$folder/docker-registry"
mkdir -p "$folder"
exec 9>"$folder/.lock" # twice at once: the second one waits, and finds it done
flock 9
if [[ ! -x $program ]] && command -v apt-get dpkg-deb >/dev/null; then
  echo "Unpacking Debian's docker-registry ..." >&2
  work="$(mktemp -d)"
  trap 'rm -rf "$work"' EXIT
  chmod 755 "$work" # apt's own user writes there
  if (cd "$work" && { apt-get download docker-registry || { apt-get update -qq -o DPkg::Lock::Timeout=300 && apt-get download docker-registry; }; }) >"$work/log" 2>&1; then
    dpkg-deb -x "$work"/docker-registry_*.deb "$work/root"
    mv "$work/root/usr/bin/docker-registry" "$program"
  fi
fi
if [[ ! -x $program ]]; then
  command -v go >/dev/null || { echo "Neither apt-get nor Go has a registry for the tests: install one of the two." >&2; exit 1; }
  echo "Building registry $version (some minutes, once) ..." >&2
  (cd / && CGO_ENABLED=0 GOBIN="$folder" GOFLAGS="${GOFLAGS:-} -trimpath" go install -ldflags "-s -w" "github.com/distribution/distribution/v3/cmd/registry@$version") 9>&-
  mv "$folder/registry" "$program"
fi
echo "$program"
