#!/usr/bin/env bash
# Starts (or deletes) a kind cluster: real kubelet, containers, probes and volumes, on one node. About half a minute once the
# node image is there. Several can run side by side.
#   up.sh [OPTION...] NAME
#   up.sh --delete NAME             also when it never started completely
#   up.sh --load NAME IMAGE...      copies images from the docker engine onto the node
#   up.sh --node-image              gets or builds the node image, which the first start would do otherwise; prints its name
#     --kubeconfig PATH             where to write the kubeconfig (default: .work/kind/NAME.kubeconfig)
#     --audit PATH                  log every write and every delete option there, as hack/cluster/audit-policy.yaml says
#     --watch-pid PID               delete the cluster once that process is gone, however it ended
#   SCALESET_WATCH_PID=PID          the same as --watch-pid
#   SCALESET_KIND=DIR               where clusters keep their files (default: .work/kind in the repository)
#   BUILD=always                    build the node image even where kind's own could be pulled
# The node image is kind's own where a registry has it for us, else the one that node.sh builds.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
source "$here/../cluster/versions.sh"
state="${SCALESET_KIND:-$here/../../.work/kind}"
mkdir -p "$state" && state="$(cd "$state" && pwd)"

usage() {
  echo "usage: up.sh [--kubeconfig PATH] [--audit PATH] [--watch-pid PID] NAME | up.sh --delete NAME | up.sh --load NAME IMAGE... | up.sh --node-image" >&2
  exit 2
}
what=up kubeconfig='' audit='' watch_pid="${SCALESET_WATCH_PID:-}" arguments=()
while (($#)); do
  case $1 in
    --delete | --load | --node-image) what=${1#--}; shift ;;
    --kubeconfig | --audit | --watch-pid)
      [[ $# -ge 2 ]] || usage
      declare "$(tr - _ <<<"${1#--}")=$2"; shift 2 ;;
    -*) usage ;;
    *) arguments+=("$1"); shift ;;
  esac
done
if [[ $what == node-image ]]; then arguments+=(none); fi
[[ ${#arguments[@]} -ge 1 ]] || usage
if [[ ! ${arguments[0]} =~ ^[a-z0-9][a-z0-9-]{0,39}$ ]]; then
  echo "A cluster's name is made of up to 40 lower-case letters, digits and hyphens, not ${arguments[0]}." >&2
  exit 2
fi
name=${arguments[0]} images=("${arguments[@]:1}") node="${arguments[0]}-control-plane"
if [[ $what == load ]]; then ((${#images[@]} > 0)) || usage; else ((${#images[@]} == 0)) || usage; fi
kubeconfig="${kubeconfig:-$state/$name.kubeconfig}"

"$here/engine.sh"
bin="$(WITH_KIND=1 "$here/../cluster/build.sh")"

remove() {
  local log attempt; log="$(mktemp)"
  for attempt in {1..5}; do
    if "$bin/kind" delete cluster --quiet --name "$name" --kubeconfig "$kubeconfig" >"$log" 2>&1; then break; fi
    if ((attempt == 5)); then echo "Cluster $name cannot be deleted: $(tail -n 1 "$log")" >&2; exit 1; fi
    thaw
  done
  rm -f "$log"
  rm -f "$state/$name.kubeconfig" "$kubeconfig" "$state/$name".watched-by-*
}

# With control groups of version 1 a frozen process survives SIGKILL, and with it the node. runc on the node freezes a container
# for a moment when it sets it up: a node that is killed just then keeps one.
thaw() {
  local id file
  id="$(docker inspect --format '{{.Id}}' "$node" 2>/dev/null)" || return 0
  for file in $(find /sys/fs/cgroup/freezer -path "*/$id/*" -name freezer.state 2>/dev/null); do
    if grep -q FROZEN "$file"; then echo THAWED >"$file"; fi
  done
}

exists() { "$bin/kind" get clusters --quiet 2>/dev/null | grep -qx "$name"; }

load() {
  exists || { echo "There is no kind cluster $name: start it with $0 $name." >&2; exit 1; }
  local archive image; archive="$(mktemp)"
  trap 'rm -f "$archive"' RETURN
  for image in "${images[@]}"; do
    docker image inspect "$image" >/dev/null 2>&1 || { echo "The docker engine has no image $image: build or pull it first." >&2; exit 1; }
  done
  echo "Loading ${images[*]} into $name ..." >&2
  docker save --output "$archive" "${images[@]}"
  "$bin/kind" load image-archive --quiet "$archive" --name "$name"
}

node_image() { # prints it: kind's own if the engine has it or can get it, else ours
  if [[ ${BUILD:-} != always ]] && { docker image inspect "$KIND_NODE" || timeout 600 docker pull --quiet "$KIND_NODE"; } >/dev/null 2>&1; then
    echo "$KIND_NODE"
  else
    "$here/node.sh"
  fi
}

configuration() { # configuration IMAGE: what kind is told
  printf 'kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\n'
  if [[ $1 != "$KIND_NODE" ]]; then echo 'networking: {disableDefaultCNI: true}'; fi # ours brings one itself
  printf 'nodes:\n- role: control-plane\n'
  if [[ -n $audit ]]; then
    cat <<YAML
  extraMounts:
  - {hostPath: "$(cd "$here/../cluster" && pwd)/audit-policy.yaml", containerPath: /etc/kubernetes/audit-policy.yaml, readOnly: true}
  kubeadmConfigPatches:
  - |
    kind: ClusterConfiguration
    apiServer:
      extraArgs: {audit-policy-file: /etc/kubernetes/audit-policy.yaml, audit-log-path: /var/log/kubernetes/audit.log}
      extraVolumes:
      - {name: audit-policy, hostPath: /etc/kubernetes/audit-policy.yaml, mountPath: /etc/kubernetes/audit-policy.yaml, readOnly: true, pathType: File}
      - {name: audit-log, hostPath: /var/log/kubernetes, mountPath: /var/log/kubernetes, pathType: DirectoryOrCreate}
YAML
  fi
}

failed() {
  echo "Cluster $name did not start. kind says:" >&2
  grep -vE '^\s*$|[•✓]' "$log" | tail -n 8 | cut -c1-300 >&2
  if [[ $(docker inspect --format '{{.State.Running}}' "$node" 2>/dev/null) == true ]]; then
    echo "The last lines of the kubelet:" >&2
    docker exec "$node" journalctl --no-pager --unit kubelet --lines 8 --output cat 2>&1 | cut -c1-300 >&2 || true
  fi
  remove
  rm -f "$log"
  exit 1
}

# A node runs a whole machine's worth of watchers; the usual 128 for each user end with the second cluster.
allow_watches() {
  local limit=/proc/sys/fs/inotify/max_user_instances
  if ((EUID == 0)) && (($(<$limit) < 1024)); then { echo 1024 >$limit; } 2>/dev/null || true; fi
}

up() {
  local image; image="$(node_image)" # minutes, the first time
  # The engine serves every checkout on this machine: of two starts of one name the second one waits, and finds the cluster there.
  exec 8>"/tmp/scaleset-kind-$UID-$name.lock"
  flock 8
  if exists; then
    echo "Cluster $name is there already (or was left by a crash): delete it with $0 --delete $name, or choose another name." >&2
    exit 1
  fi
  if [[ -n $watch_pid ]]; then
    local mark="$state/$name.watched-by-$watch_pid"
    touch "$mark"
    setsid "$here/../cluster/reap.sh" "$watch_pid" "$mark" "$0" "$name" "$kubeconfig" </dev/null >/dev/null 2>&1 8>&- &
  fi
  log="$(mktemp)"
  trap failed ERR INT TERM
  allow_watches
  echo "Starting kind cluster $name (about half a minute) ..."
  configuration "$image" |
    "$bin/kind" create cluster --retain --name "$name" --image "$image" --kubeconfig "$kubeconfig" --wait 300s --config - >"$log" 2>&1
  export KUBECONFIG="$kubeconfig"
  "$bin/kubectl" wait --for=condition=Ready --timeout=300s "node/$node" >"$log" 2>&1
  for part in kube-system/coredns local-path-storage/local-path-provisioner; do
    "$bin/kubectl" --namespace "${part%/*}" rollout status --timeout=300s "deployment/${part#*/}" >"$log" 2>&1
  done
  trap - ERR INT TERM
  exec 8>&-
  rm -f "$log"
  if [[ -n $audit ]]; then # on the node it is root's; this way whoever may use docker can read it
    setsid docker exec "$node" tail -n +1 -F /var/log/kubernetes/audit.log >"$audit" 2>/dev/null </dev/null &
  fi
  echo "Ready: export KUBECONFIG=$kubeconfig"
}

case $what in
  up) up ;;
  delete) remove ;;
  load) load ;;
  node-image) node_image ;;
esac
