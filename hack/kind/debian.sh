#!/usr/bin/env bash
# Makes a docker image of a minimal Debian with the packages that are named, from a Debian mirror: a base image where no
# registry can be reached. Needs root and debootstrap (installed if missing). Nothing to do when the image is there.
#   debian.sh NAME[:TAG] PACKAGE...
set -euo pipefail
SUITE=bookworm
image=$1; shift
if docker image inspect "$image" >/dev/null 2>&1; then exit; fi
no() { echo "Cannot make the base image $image: $1" >&2; exit 1; }
((EUID == 0)) || no "debootstrap needs root; log docker in to a registry that has the image instead."
if ! command -v debootstrap >/dev/null; then
  command -v apt-get >/dev/null || no "debootstrap is missing, and without apt-get it cannot be installed."
  echo "Installing debootstrap ..." >&2
  { apt-get update -qq -o DPkg::Lock::Timeout=300 && apt-get install -y -qq -o DPkg::Lock::Timeout=300 --no-install-recommends debootstrap; } >/dev/null 2>&1 || no "apt-get could not install debootstrap."
fi
# The mirror that this machine installs from; without one debootstrap's own default.
mirror="$(cat /etc/apt/sources.list.d/*.sources /etc/apt/sources.list 2>/dev/null |
  awk '$1 == "URIs:" {print $2} $1 == "deb" {for (i = 2; i <= NF; i++) if ($i ~ /^https?:/) {print $i; break}}' | grep -m 1 '/debian/*$' || true)"
cache="${XDG_CACHE_HOME:-$HOME/.cache}/scaleset-debian"
mkdir -p "$cache"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
echo "Making $image from Debian packages (about a minute) ..." >&2
debootstrap --variant=minbase --cache-dir="$cache" --include="$(IFS=,; echo "$*")" "$SUITE" "$work/rootfs" ${mirror:+"$mirror"} >"$work/log" 2>&1 ||
  no "debootstrap says: $(grep -E '^E:' "$work/log" | tail -n 1)"
# What a package manager keeps, and what nobody reads in a container.
rm -rf "$work/rootfs"/var/cache/apt/* "$work/rootfs"/var/lib/apt/lists/* "$work/rootfs"/var/log/* \
  "$work/rootfs"/usr/share/{doc,man,info,locale,lintian}/* 
tar -C "$work/rootfs" -c . | docker import - "$image" >/dev/null
