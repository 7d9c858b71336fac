# What a cluster is made of. The Go modules that pin every dependency of etcd and Kubernetes are in modules/.
# shellcheck shell=bash disable=SC2034
kube_asked="${KUBE:-}" kube_asked="${kube_asked%.x}"
KUBE=v1.34.4 KUBE_MINOR=34
kube_modules="$(dirname "${BASH_SOURCE[0]}")/modules/kubernetes"
# `KUBE=v1.32` or its whole version in the environment: another Kubernetes, one of those that pin.sh has pinned.
if [[ -n $kube_asked && $KUBE != "$kube_asked" && $KUBE != "$kube_asked".* ]]; then
  KUBE_MINOR="${kube_asked#v1.}" KUBE_MINOR="${KUBE_MINOR%%.*}"
  kube_modules+="-1.$KUBE_MINOR"
  KUBE="$(sed -n 's|^require k8s.io/kubernetes ||p' "$kube_modules/go.mod" 2>/dev/null || true)"
  if [[ -z $KUBE || ( $KUBE != "$kube_asked" && $KUBE != "$kube_asked".* ) ]]; then
    echo "Kubernetes $kube_asked is not pinned. There are: $(sed -n 's|^require k8s.io/kubernetes ||p' "${kube_modules%/*}"/kubernetes*/go.mod | sort -V | xargs); hack/cluster/pin.sh adds another." >&2
    exit 2
  fi
fi
ETCD=3.6.16
KWOK=v0.8.0
# The Kubernetes that this helm takes itself to be made for: that of the client-go in its go.mod.
HELM=v3.19.0 HELM_KUBE_MINOR=34
KIND=v0.30.0
# The node image that this kind starts by default.
KIND_NODE=kindest/node:v1.34.0@sha256:7416a61b42b1662ca6ca89f02028ac133a309a2a30ba309614e8ec94d976dc5a
COREDNS=v1.12.1
LOCAL_PATH=v0.0.30
