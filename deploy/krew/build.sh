#!/usr/bin/env bash
# Builds what krew installs: an archive for each platform, with the plugin and its libraries, and the manifest that names them.
#   deploy/krew/build.sh URL [OS/ARCH...]   URL is where the archives will be found, e.g. that of a release's files
#   PYTHONS="3.11 3.12"                     versions of Python to build for (default: 3.11 to 3.14)
# Needs the environment of `make venv`. Results are in dist/krew.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
[[ $# -ge 1 ]] || { echo "usage: deploy/krew/build.sh URL [OS/ARCH...]" >&2; exit 2; }
url=${1%/}; shift
platforms=("$@")
((${#platforms[@]})) || platforms=(linux/amd64 linux/arm64 darwin/amd64 darwin/arm64)
read -ra pythons <<<"${PYTHONS:-3.11 3.12 3.13 3.14}"
python=.venv/bin/python
# What the plugin's distribution depends on; the operator's own libraries (kopf, aiohttp, ...) stay out.
mapfile -t libraries < <("$python" -c 'import tomllib; print(*tomllib.load(open("plugin/pyproject.toml", "rb"))["project"]["dependencies"], sep="\n")')
pip=("$python" -m pip --disable-pip-version-check --quiet)
version=$("$python" -c 'import scaleset; print(scaleset.__version__)')
out=dist/krew work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
rm -rf "$out"; mkdir -p "$out"
"${pip[@]}" wheel --no-deps --no-build-isolation --wheel-dir "$work/wheel" ./plugin
grep -v '^#' requirements-dev.lock | sed -e 's/ \\$//' | grep == | sed -e 's/ ;.*//' >"$work/constraints"

tags() { # tags OS/ARCH: what wheels for it are called
  case $1 in
    linux/amd64) echo manylinux_2_28_x86_64 manylinux_2_17_x86_64 manylinux2014_x86_64 ;;
    linux/arm64) echo manylinux_2_28_aarch64 manylinux_2_17_aarch64 manylinux2014_aarch64 ;;
    darwin/amd64) echo macosx_10_13_x86_64 macosx_10_12_x86_64 macosx_10_9_x86_64 macosx_11_0_x86_64 ;;
    darwin/arm64) echo macosx_11_0_arm64 macosx_12_0_arm64 ;;
    *) echo "Unknown platform $1: use linux/amd64, linux/arm64, darwin/amd64 or darwin/arm64." >&2; return 1 ;;
  esac
}

{ sed '/^  platforms:/q' deploy/krew/scaleset.yaml | sed -e "s|@VERSION@|v$version|" -e '/^# /d'; } >"$out/scaleset.yaml"
for platform in "${platforms[@]}"; do
  name=kubectl-scaleset-$version-${platform/\//-}
  folder=$work/$name
  mkdir -p "$folder/lib"
  wanted=$(tags "$platform")
  for each in "${pythons[@]}"; do
    echo "Fetching the libraries for $platform with Python $each ..."
    arguments=()
    for tag in $wanted; do arguments+=(--platform "$tag"); done
    "${pip[@]}" install --target "$folder/lib/$each" --no-compile --only-binary :all: --python-version "$each" \
      --implementation cp "${arguments[@]}" --constraint "$work/constraints" "${libraries[@]}"
    "${pip[@]}" install --target "$folder/lib/$each" --no-compile --no-deps "$work"/wheel/*.whl
    rm -rf "$folder/lib/$each/bin"
  done
  install -m 0755 deploy/krew/kubectl-scaleset "$folder/"
  cp LICENSE "$folder/"
  tar -C "$folder" --sort=name --owner=0 --group=0 --mtime=@0 -czf "$out/$name.tar.gz" .
  digest=$(sha256sum "$out/$name.tar.gz" | cut -d' ' -f1)
  sed '1,/^  platforms:/d' deploy/krew/scaleset.yaml | sed -e "s|@OS@|${platform%/*}|" -e "s|@ARCH@|${platform#*/}|" \
    -e "s|@URI@|$url/$name.tar.gz|" -e "s|@SHA256@|$digest|" >>"$out/scaleset.yaml"
  echo "Built $out/$name.tar.gz ($(du -h "$out/$name.tar.gz" | cut -f1))."
done
echo "Wrote $out/scaleset.yaml: kubectl krew install --manifest=$out/scaleset.yaml"
