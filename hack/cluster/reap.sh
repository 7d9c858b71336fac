#!/usr/bin/env bash
# Deletes a cluster once the process that asked for it is gone, whatever ended it: nothing is left running after a crash.
# Started by `up.sh --watch-pid`, in a session of its own.
#   reap.sh PID MARK UP NAME KUBECONFIG    ends without doing anything when the file MARK is gone: the cluster was deleted
set -u
pid=$1 mark=$2 up=$3 name=$4 kubeconfig=$5
# A number may be given to another process later; together with the time of its start it is unique.
born() { ps -o lstart= -p "$pid" 2>/dev/null; }
first="$(born)"
while [[ -n $first && $(born) == "$first" ]]; do
  [[ -e $mark ]] || exit 0
  sleep 1
done
[[ -e $mark ]] && exec "$up" --delete --kubeconfig "$kubeconfig" "$name"
