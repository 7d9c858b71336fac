#!/usr/bin/env bash
# Builds the operator's image and prints its name. The wheels are fetched here, each checked by its hash, so that the build itself needs no network.
#   build.sh [IMAGE]         default: scaleset-operator:VERSION
#   BASE=IMAGE               another base: any image with python3 3.11 and its venv module
#   NO_CACHE=1               build every step anew
# Base: the official slim Python (see operator/Dockerfile); where no registry answers, a Debian with its own Python 3.11.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
root="$(cd "$here/../.." && pwd)"
cd "$root"
"$root/hack/kind/engine.sh"
version="$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)"
image="${1:-scaleset-operator:$version}"
wheels=.work/image/wheels

base() { # prints the base image
  local official; official="$(sed -n 's/^ARG BASE=//p' operator/Dockerfile)"
  if docker image inspect "$official" >/dev/null 2>&1 || timeout 300 docker pull --quiet "$official" >/dev/null 2>&1; then
    echo "$official"
  else
    echo "No registry has $official for us: building on Debian's Python." >&2
    local ours; ours="scaleset/debian-python:3.11-$(sha256sum <hack/kind/debian.sh | cut -c1-8)"
    "$root/hack/kind/debian.sh" "$ours" python3 python3-venv ca-certificates
    echo "$ours"
  fi
}

fetch_wheels() {
  local stamp; stamp="$(cat requirements.lock requirements-build.lock | sha256sum | cut -c1-16)-$(uname -m)"
  if [[ -e $wheels/$stamp ]]; then return; fi
  [[ -x .venv/bin/python ]] || { echo "Run \`make venv\` first: its pip fetches the wheels of the image." >&2; exit 1; }
  echo "Fetching the locked wheels for Python 3.11 on Linux ($(uname -m)) ..." >&2
  rm -rf "$wheels"
  mkdir -p "$wheels"
  local arch platforms=() lock; arch="$(uname -m)"
  for tag in manylinux_2_36 manylinux_2_34 manylinux_2_28 manylinux_2_17 manylinux2014 manylinux_2_12 manylinux_2_5 manylinux1 linux; do
    platforms+=(--platform "${tag}_$arch")
  done
  for lock in requirements.lock requirements-build.lock; do
    .venv/bin/python -m pip --disable-pip-version-check --quiet download --require-hashes --no-deps --only-binary :all: \
      --python-version 3.11 --implementation cp --abi cp311 --abi abi3 --abi none "${platforms[@]}" --dest "$wheels" --requirement "$lock"
  done
  touch "$wheels/$stamp"
}

base="${BASE:-$(base)}"
fetch_wheels
# Where the docker client has no buildx plugin it would warn about it, and use the classic builder anyway.
docker buildx version >/dev/null 2>&1 || export DOCKER_BUILDKIT=0
epoch="${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct -- operator pyproject.toml requirements.lock 2>/dev/null || echo 0)}"
echo "Building $image on $base (one to three minutes; seconds when little has changed) ..." >&2
log="$(mktemp)"
trap 'rm -f "$log"' EXIT
docker build --file operator/Dockerfile --tag "$image" ${NO_CACHE:+--no-cache} --build-arg "BASE=$base" --build-arg PIP_NO_INDEX=1 \
  --build-arg "SOURCE_DATE_EPOCH=${epoch:-0}" --build-arg "VERSION=$version" . >"$log" 2>&1 ||
  { echo "The image was not built; the last lines of docker build:" >&2; tail -n 15 "$log" >&2; exit 1; }
echo "Built $image, $(($(docker image inspect --format '{{.Size}}' "$image") / 1000000)) MB." >&2
echo "$image"
