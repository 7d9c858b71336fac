#!/usr/bin/env bash
# Makes sure that a docker engine answers. One that runs is used as it is; else one is started, which needs root, and installed
# where it is missing, which needs apt-get. It goes on running afterwards.
#   engine.sh            0 when an engine answers; 3 and one sentence that says why where none can be had; anything else is a
#                        mistake of this script
#   engine.sh --stop     end the engine that this script has started, with everything in it
#   DOCKER_STATE=DIR     where it keeps its files (default: /var/lib/scaleset-docker)
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
state="${DOCKER_STATE:-/var/lib/scaleset-docker}"
no() { echo "No docker engine: $1" >&2; exit 3; }

stop() {
  [[ -s $state/pid ]] || { echo "No engine of ours runs." >&2; exit 0; }
  echo "Stopping the docker engine ..." >&2
  local pid; pid="$(<"$state/pid")"
  # After a crash of the machine the number may be somebody else's.
  if ! grep -qs "$state/daemon.json" "/proc/$pid/cmdline"; then rm -f "$state/pid"; return; fi
  kill "$pid" 2>/dev/null || true
  for _ in {1..300}; do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
  rm -f "$state/pid"
}

install_engine() {
  command -v apt-get >/dev/null || no "none is installed, and without apt-get this script cannot do it; install docker."
  echo "Installing a docker engine (docker.io; about a minute) ..." >&2
  local log; log="$(mktemp)"
  { apt-get update -qq -o DPkg::Lock::Timeout=300 &&
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq -o DPkg::Lock::Timeout=300 --no-install-recommends docker.io containerd runc iptables; } >"$log" 2>&1 ||
    no "apt-get could not install docker.io: $(grep -E '^E:' "$log" | head -n 1)"
  rm -f "$log"
}

start_engine() {
  mkdir -p "$state"
  # Bit 24 is CAP_SYS_RESOURCE: where we do not have it no container can be given it, and privileged ones fail to start.
  local runtime=runc
  if ! ((0x$(awk '/^CapEff/ {print $2}' /proc/self/status) >> 24 & 1)); then runtime=nocap; fi
  install -m 755 "$here/runc-nocap" "$state/runc-nocap"
  cat >"$state/daemon.json" <<JSON
{"data-root": "$state/data", "pidfile": "$state/pid", "storage-driver": "overlay2",
 "default-runtime": "$runtime", "runtimes": {"nocap": {"path": "$state/runc-nocap"}}}
JSON
  echo "Starting a docker engine (its files are in $state) ..." >&2
  setsid nohup dockerd --config-file "$state/daemon.json" >"$state/log" 2>&1 </dev/null 9>&- &
  for _ in {1..120}; do
    docker info >/dev/null 2>&1 && return
    kill -0 $! 2>/dev/null || break
    sleep 0.5
  done
  no "dockerd does not run on this machine: $(grep -iE 'level=(error|fatal)|failed' "$state/log" | tail -n 1 | cut -c1-300) (its log: $state/log)"
}

if [[ ${1:-} == --stop ]]; then stop; exit; fi
if docker info >/dev/null 2>&1; then exit; fi
if [[ -n ${DOCKER_HOST:-} ]]; then no "the one that DOCKER_HOST=$DOCKER_HOST names does not answer."; fi
if ((EUID != 0)); then
  no "it does not answer (is it running, and may $(id -un) use it?), and only root could start one here."
fi
exec 9>/var/lock/scaleset-docker # two starts at once: the second one waits, and finds it running
flock 9
if docker info >/dev/null 2>&1; then exit; fi
if ! command -v dockerd >/dev/null || ! command -v docker >/dev/null; then install_engine; fi
start_engine
