#!/usr/bin/env bash
# Builds the controllers that `make bench` compares with and that are no part of Kubernetes, and prints the folder that holds
# them and their CRDs. Pinned by the Go modules in modules/; about 4 minutes on 2 cores the first time, nothing afterwards.
#   peers.sh [DIR]      DIR: default ${XDG_CACHE_HOME:-~/.cache}/kube-binaries/peers-HASH; the hash is that of every version that
#                       is pinned, so that a newer one is never taken for an older one that is there
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
pinned="$(cat "$here"/modules/*/go.{mod,sum} | sha256sum | cut -c1-8)"
bin="${1:-${XDG_CACHE_HOME:-$HOME/.cache}/kube-binaries/peers-$pinned}"
mkdir -p "$bin"

# NAME (its folder in modules/), the seconds it takes on 2 cores with an empty build cache, module, package, folder of the CRDs
plan=(
  "kruise-manager 120 kruise github.com/openkruise/kruise . config/crd/bases"
  "rollouts-controller 150 argo-rollouts github.com/argoproj/argo-rollouts ./cmd/rollouts-controller manifests/crds"
)

missing() {
  local entry
  for entry in "${plan[@]}"; do [[ -x $bin/${entry%% *} ]] || printf '%s\n' "$entry"; done
}

build() { # the binary gets its name last, so that an interrupted build leaves nothing that looks done
  local name=$1 folder=$2 module=$3 package=$4 crds=$5 source
  cd "$here/modules/$folder"
  go mod download "$module"
  source="$(go list -m -f '{{.Dir}}' "$module")"
  go build -ldflags "-s -w" -o "$bin/.$name.building" "$module/${package#./}"
  rm -rf "$bin/crds/$folder"
  mkdir -p "$bin/crds/$folder"
  cp "$source/$crds"/*.yaml "$bin/crds/$folder"
  rm -f "$bin/crds/$folder/kustomization.yaml"
  chmod -R u+w "$bin/crds/$folder"
  mv "$bin/.$name.building" "$bin/$name"
}

main() {
  local todo entry name seconds folder module package crds number=0 start
  mapfile -t todo < <(missing)
  if ((${#todo[@]})) && ! command -v go >/dev/null; then
    echo "Go was not found: install Go 1.26 or newer; it builds the controllers that the benchmark compares with (${#todo[@]} are missing in $bin)." >&2
    exit 1
  fi
  export CGO_ENABLED=0 GOFLAGS="${GOFLAGS:-} -trimpath"
  for entry in "${todo[@]}"; do
    number=$((number + 1)) start=$SECONDS
    read -r name seconds folder module package crds <<<"$entry"
    echo "building $name ($number of ${#todo[@]}, about $seconds s)" >&2
    (build "$name" "$folder" "$module" "$package" "$crds")
    echo "built $name in $((SECONDS - start)) s" >&2
  done
  echo "$bin"
}

# Two builds at once would get in each other's way; the second one waits, and finds everything there.
if [[ -n $(missing) ]] && command -v flock >/dev/null; then
  exec 9>"$bin/.lock"
  flock --nonblock 9 || { echo "waiting for another build in $bin" >&2; flock 9; }
  main 9>&-
else
  main
fi
