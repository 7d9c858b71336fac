#!/usr/bin/env bash
# Gets a Prometheus (with promtool) and, where asked for, Chromium: nothing to do where they are on PATH; as root on Debian and
# Ubuntu their packages are installed, without starting a service.
#   install.sh prometheus [chromium]
set -euo pipefail
missing=()
for package in "$@"; do
  case $package in
    prometheus) command -v prometheus >/dev/null && command -v promtool >/dev/null || missing+=(prometheus) ;;
    chromium) command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null || missing+=(chromium) ;;
    *) echo "usage: install.sh [prometheus] [chromium]" >&2; exit 2 ;;
  esac
done
if ((${#missing[@]} == 0)); then exit; fi
if [[ $(id -u) != 0 ]] || ! command -v apt-get >/dev/null; then
  echo "Not found on PATH: ${missing[*]}. Install what is missing (Debian, Ubuntu: sudo apt-get install ${missing[*]}; else from its project's releases)." >&2
  exit 1
fi
echo "Installing Debian's packages ${missing[*]} ..." >&2
export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 # in runlevel 1 a package starts no service
wait_for_others=(-o DPkg::Lock::Timeout=300)
apt-get "${wait_for_others[@]}" update -qq >&2
apt-get "${wait_for_others[@]}" install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
