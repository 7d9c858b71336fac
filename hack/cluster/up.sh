#!/usr/bin/env bash
# Starts (or deletes) a cluster of real etcd, kube-apiserver, kube-controller-manager and kube-scheduler, with kwok playing the
# nodes as stages.yaml says. Five seconds once the binaries are there. Several can run side by side; ports are chosen freely.
#   up.sh [OPTION...] NAME [NODES]
#   up.sh --delete NAME             also when it never started completely
#     --kubeconfig PATH             where to write the kubeconfig (default: .work/clusters/NAME.kubeconfig)
#     --start DURATION              how long a simulated container takes to become ready (default: $START or 1s)
#     --audit PATH                  log every write and every delete option there, as audit-policy.yaml says
#     --audit-policy PATH           log what this policy says
#     --watch-pid PID               delete the cluster once that process is gone, however it ended
#     --feature-gates LIST          Kubernetes feature gates, e.g. MaxUnavailableStatefulSet=true
#     --without-controllers LIST    what kube-controller-manager leaves to others, e.g. statefulset-controller
#     --accounts                    each controller of Kubernetes has an account of its own, as kubeadm sets them up
#   SCALESET_CLUSTERS=DIR           where clusters keep their files (default: .work/clusters in the repository)
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
source "$here/versions.sh"
state="${SCALESET_CLUSTERS:-$here/../../.work/clusters}"
mkdir -p "$state" && state="$(cd "$state" && pwd)"

usage() { echo "usage: up.sh [--kubeconfig PATH] [--start DURATION] [--audit PATH] [--audit-policy PATH] [--watch-pid PID] [--feature-gates LIST] [--without-controllers LIST] [--accounts] NAME [NODES] | up.sh --delete NAME" >&2; exit 2; }
delete='' kubeconfig='' audit='' audit_policy="$here/audit-policy.yaml" watch_pid='' feature_gates='' without_controllers='' accounts='' start="${START:-1s}" arguments=()
while (($#)); do
  case $1 in
    --delete) delete=1; shift ;;
    --accounts) accounts=1; shift ;;
    --kubeconfig | --start | --audit | --audit-policy | --watch-pid | --feature-gates | --without-controllers)
      [[ $# -ge 2 ]] || usage
      declare "$(tr - _ <<<"${1#--}")=$2"; shift 2 ;;
    -*) usage ;;
    *) arguments+=("$1"); shift ;;
  esac
done
[[ ${#arguments[@]} -ge 1 && ${#arguments[@]} -le 2 && ${arguments[0]} =~ ^[a-z0-9][a-z0-9-]*$ ]] || usage
name=${arguments[0]} nodes=${arguments[1]:-10}
kubeconfig="${kubeconfig:-$state/$name.kubeconfig}"

bin="$("$here/build.sh")"
# What is in $bin is used; what is not, kwokctl downloads (see build.sh).
export KWOK_WORKDIR="$state" KWOK_RUNTIME=binary KWOK_KUBE_VERSION=$KUBE KWOK_ETCD_VERSION=$ETCD
use() { if [[ -x $bin/$2 ]]; then export "$1=$bin/$2"; fi; }
use KWOK_ETCD_BINARY etcd
use KWOK_ETCDCTL_BINARY etcd # only asked for by snapshots, which we do not take; without it kwokctl would download one
use KWOK_KUBECTL_BINARY kubectl
use KWOK_KUBE_APISERVER_BINARY kube-apiserver
use KWOK_KUBE_SCHEDULER_BINARY kube-scheduler
use KWOK_KUBE_CONTROLLER_MANAGER_BINARY kube-controller-manager
use KWOK_CONTROLLER_BINARY kwok
kwokctl() { "$bin/kwokctl" "$@" 2> >(grep --line-buffered -E '"level":"(WARN|ERROR)"|^Error' >&2); }
kubectl() { "$bin/kwokctl" --name "$name" kubectl "$@"; }

remove() {
  # The volumes of the cluster are folders of this machine. kube-controller-manager makes them, and nobody else removes them.
  local folder
  local pids=() pid
  if [[ -d $state/clusters/$name ]]; then
    for pid in "$state/clusters/$name/pids"/*.pid; do if [[ -s $pid ]]; then pids+=("$(<"$pid")"); fi; done
    for folder in $(timeout 10 "$bin/kwokctl" --name "$name" kubectl get persistentvolumes -o 'jsonpath={.items[*].spec.hostPath.path}' 2>/dev/null); do
      [[ $folder == /tmp/hostpath_pv/* ]] && rm -rf "$folder"
    done
    kwokctl delete cluster --name "$name" --kubeconfig "$kubeconfig" >/dev/null || true
    for pid in "${pids[@]}"; do # kwokctl does not wait for the end of what it stops
      for _ in {1..50}; do if kill -0 "$pid" 2>/dev/null; then sleep 0.1; fi; done
    done
    rm -rf "$state/clusters/$name"
  fi
  rm -f "$state/$name.kubeconfig" "$kubeconfig" "$state/$name".watched-by-*
}

if [[ -n $delete ]]; then remove; exit; fi
if [[ -d $state/clusters/$name ]]; then
  echo "Cluster $name is there already (or was left by a crash): delete it with $0 --delete $name, or choose another name." >&2
  exit 1
fi

if [[ -n $watch_pid ]]; then
  mark="$state/$name.watched-by-$watch_pid"
  touch "$mark"
  setsid "$here/reap.sh" "$watch_pid" "$mark" "$0" "$name" "$kubeconfig" </dev/null >/dev/null 2>&1 &
fi

config="$(mktemp)"
failed() {
  local file
  rm -f "$config"
  echo "Cluster $name did not start; the last lines of its logs:" >&2
  for file in "$state/clusters/$name/logs"/*.log; do
    if [[ -s $file && $file != *audit.log ]]; then echo "--- ${file##*/}"; tail -n 5 "$file" | cut -c1-300; fi
  done >&2
  remove
  exit 1
}
trap failed ERR INT TERM

echo "Starting cluster $name with $nodes nodes ..."
stages="s/\\$\{START\}/$start/"
# Before 1.34 a pod has no generation, so that its kubelet has observed none.
if ((KUBE_MINOR < 34)); then stages+='; /^ *observedGeneration: \{\{ [^}]*\}\}$/d; s/ observedGeneration: \{\{ [^}]*\}\},//'; fi
sed -E "$stages" "$here/stages.yaml" >"$config"
# One of each, so they elect nobody: on a busy machine they would lose their leases, end, and nobody would start them again.
options=(--wait 60s --disable-qps-limits --extra-args kube-controller-manager=enable-hostpath-provisioner=true
  --extra-args kube-controller-manager=leader-elect=false --extra-args kube-scheduler=leader-elect=false)
# What quotas count is made good soon: while its monitors of new kinds start, the controller of quotas misses what is deleted.
options+=(--extra-args kube-controller-manager=resource-quota-sync-period=10s)
# Nobody waits a quarter of a minute for each step of an autoscaler.
options+=(--extra-args kube-controller-manager=horizontal-pod-autoscaler-sync-period=2s)
# Who reads the log remembers how far it has read: a new file every 100 MB would lose what lies between.
if [[ -n $audit ]]; then
  options+=(--kube-audit-policy "$audit_policy" --extra-args kube-apiserver=audit-log-maxsize=100000)
fi
if [[ -n $feature_gates ]]; then options+=(--kube-feature-gates "$feature_gates"); fi
if [[ -n $without_controllers ]]; then
  options+=(--extra-args "kube-controller-manager=controllers=*,-${without_controllers//,/,-}")
fi
if [[ -n $accounts ]]; then options+=(--extra-args kube-controller-manager=use-service-account-credentials=true); fi
lock=()
# kwokctl looks for free ports one after the other: two starts at once would choose the same ones.
if command -v flock >/dev/null; then lock=(flock --close "${TMPDIR:-/tmp}/scaleset-cluster-ports.lock"); fi
"${lock[@]}" "$bin/kwokctl" create cluster --name "$name" --kubeconfig "$kubeconfig" --config "$config" "${options[@]}" \
  >"$config.log" 2>&1 || { grep -E '"level":"(WARN|ERROR)"|^Error' "$config.log" | cut -c1-400 >&2; false; }
rm -f "$config" "$config.log"
if [[ -n $audit ]]; then ln -sf "$state/clusters/$name/logs/audit.log" "$audit"; fi
kubectl apply -f "$here/storage-class.yaml" >/dev/null
kwokctl scale node --name "$name" --replicas "$nodes" >/dev/null
trap - ERR INT TERM
echo "Ready: export KUBECONFIG=$kubeconfig"
