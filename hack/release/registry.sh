#!/usr/bin/env bash
# Gets a registry for images and charts, which the tests of a release start, and prints where it is. Docker's, as Debian has it, is unpacked,
# not installed, so that nothing is started; where there is no apt-get it is built from its Go module. Got once.
#   registry.sh                 Docker's, which has no referrers API: `registry serve CONFIGURATION`
#   registry.sh --referrers     one in memory that has it: `referrers ADDRESS`
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
version=v3.1.2
folder="${XDG_CACHE_HOME:-$HOME/.cache}/scaleset-registry"
program="$folder/docker-registry"
mkdir -p "$folder"
exec 9>"$folder/.lock" # twice at once: the second one waits, and finds it done
flock 9
if [[ ${1:-} == --referrers ]]; then
  program="$folder/referrers-$(cat "$here"/referrers/{main.go,go.sum} | sha256sum | cut -c1-8)"
  if [[ ! -x $program ]]; then
    command -v go >/dev/null || { echo "Go was not found: install it; it builds the registry with the referrers API." >&2; exit 1; }
    echo "Building a registry with the referrers API (some seconds, once) ..." >&2
    (cd "$here/referrers" && CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" -o "$program" .) 9>&-
  fi
  echo "$program"
  exit
fi
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
