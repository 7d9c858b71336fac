#!/usr/bin/env bash
# Gets a tool of a release from its Go module, pinned, and prints where it is. Built once.
#   tool.sh registry     a registry for images and charts, for tests (three minutes on 2 cores)
#   tool.sh cosign       signs what is in a registry, with a key file (ten minutes on 2 cores)
set -euo pipefail
case ${1:-} in
  registry) package=github.com/distribution/distribution/v3/cmd/registry version=v3.1.2 ;;
  cosign) package=github.com/sigstore/cosign/v3/cmd/cosign version=v3.1.3 ;;
  *) echo "usage: tool.sh registry|cosign" >&2; exit 2 ;;
esac
folder="${XDG_CACHE_HOME:-$HOME/.cache}/scaleset-release/$1-$version"
if [[ ! -x $folder/$1 ]]; then
  command -v go >/dev/null || { echo "Go was not found: install Go 1.26 or newer; it builds $1." >&2; exit 1; }
  mkdir -p "$folder"
  exec 9>"$folder/.lock" # two builds at once: the second one waits, and finds it done
  flock 9
  if [[ ! -x $folder/$1 ]]; then
    echo "Building $1 $version (some minutes, once) ..." >&2
    mkdir -p "$folder/building"
    (cd / && CGO_ENABLED=0 GOBIN="$folder/building" GOFLAGS="${GOFLAGS:-} -trimpath" go install -ldflags "-s -w" "$package@$version") 9>&-
    mv "$folder/building/$1" "$folder/$1"
    rmdir "$folder/building"
  fi
fi
echo "$folder/$1"
