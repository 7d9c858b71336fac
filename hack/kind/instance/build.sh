#!/usr/bin/env bash
# Builds small images of a real HTTP server, and prints their names. The tag says how it behaves:
#   example.com/web:1.1.0   ready at once          example.com/web:1.1.0-slow    ready after 12 seconds
#   example.com/web:1.1.0-bad   never ready        example.com/web:1.1.0-crash   ends with an error as soon as it has started
#   build.sh TAG...
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
(($# > 0)) || { echo "usage: build.sh TAG..., e.g. build.sh 1.0.0 1.1.0 1.2.0-bad" >&2; exit 2; }
"$here/../engine.sh"
command -v go >/dev/null || { echo "Go was not found: install Go 1.26 or newer; it builds the server of the instance images." >&2; exit 1; }
docker buildx version >/dev/null 2>&1 || export DOCKER_BUILDKIT=0
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
echo "Building instance images: $* ..." >&2
CGO_ENABLED=0 GO111MODULE=off go build -trimpath -ldflags '-s -w' -o "$work/instance" "$here/main.go"
cp "$here/Dockerfile" "$work/"
for tag in "$@"; do
  behaviour=good
  if [[ $tag == *-* ]]; then behaviour=${tag#*-}; fi
  docker build --tag "example.com/web:$tag" --build-arg "VERSION=${tag%%-*}" --build-arg "BEHAVIOUR=$behaviour" "$work" >"$work/log" 2>&1 ||
    { echo "Building example.com/web:$tag failed: $(tail -n 3 "$work/log")" >&2; exit 1; }
  echo "example.com/web:$tag"
done
