#!/usr/bin/env bash
# Gets a real Kubernetes control plane and its tools, pinned, and prints the folder that holds them.
# Where the release sites answer, kwokctl downloads what it needs by itself, at the first start of a cluster; only kwokctl is
# built. Elsewhere everything is built from Go modules: 7 minutes on 2 cores the first time, nothing afterwards.
#   build.sh [DIR]      DIR: default ${XDG_CACHE_HOME:-~/.cache}/kube-binaries/$KUBE-HASH; the hash is that of every
#                       version that is pinned, so that a newer one is never taken for an older one that is there
#   KUBE=v1.32          another Kubernetes than that of today, one of those in modules/ (see versions.sh)
#   BUILD=always        never download, build
#   WITH_HELM=1         also helm
#   WITH_KIND=1         kubectl and kind, and nothing else: what a kind cluster needs
#   WITH_KIND=node      also everything that a kind node image is made of, kubelet and kubeadm among it
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
source "$here/versions.sh"
pinned="$(cat "$here/versions.sh" {"$here/modules/etcd","$kube_modules"}/go.{mod,sum} | sha256sum | cut -c1-8)"
bin="${1:-${XDG_CACHE_HOME:-$HOME/.cache}/kube-binaries/$KUBE-$pinned}"
mkdir -p "$bin"

# NAME, the seconds it takes on 2 cores with an empty build cache (for the progress line), how, what
plan=(
  "kwokctl 60 get sigs.k8s.io/kwok/cmd/kwokctl@$KWOK"
  "etcd 20 etcd"
  "kube-apiserver 120 kube"
  "kube-controller-manager 40 kube"
  "kube-scheduler 10 kube"
  "kubectl 40 kube"
  "kwok 20 get sigs.k8s.io/kwok/cmd/kwok@$KWOK"
)
tools=() # these are always built
if [[ -n ${WITH_HELM:-} ]]; then tools+=("helm 60 get helm.sh/helm/v3/cmd/helm@$HELM"); fi
if [[ -n ${WITH_KIND:-} ]]; then tools+=("kubectl 40 kube" "kind 20 get sigs.k8s.io/kind@$KIND"); fi
if [[ ${WITH_KIND:-} == 1 ]]; then plan=(); fi
if [[ ${WITH_KIND:-} == node ]]; then
  tools+=("kubelet 60 kube" "kubeadm 30 kube" "kube-proxy 20 kube" "coredns 90 get github.com/coredns/coredns@$COREDNS"
    "local-path-provisioner 30 get github.com/rancher/local-path-provisioner@$LOCAL_PATH")
  plan=("${plan[@]:1:4}") # a node needs no kwok
fi

# What a program says of itself is set when it is linked. A helm without it takes every cluster that it does not see for Kubernetes
# 1.20, and refuses to render our chart.
helm="helm.sh/helm/v3"
declare -A stamps=(
  [helm]="-X $helm/internal/version.version=$HELM"
)
for package in pkg/lint/rules pkg/chartutil; do stamps[helm]+=" -X $helm/$package.k8sVersionMajor=1 -X $helm/$package.k8sVersionMinor=$HELM_KUBE_MINOR"; done

missing() { # the entries of the plan whose binary is not there
  local entry
  for entry in "$@"; do [[ -x $bin/${entry%% *} ]] || printf '%s\n' "$entry"; done
}

downloadable() { # does every site that kwokctl would download from answer? Which sites, kwokctl itself tells.
  local sites site
  sites="$(KWOK_WORKDIR="$(mktemp -d)" KWOK_KUBE_VERSION=$KUBE "$bin/kwokctl" create cluster --name probe --runtime binary --dry-run 2>/dev/null |
    grep -oE 'https://[^/ ]+' | grep -v '^https://127' | sort -u)"
  [[ -n $sites ]] && command -v curl >/dev/null || return 1
  for site in $sites; do curl --silent --head --max-time 3 --output /dev/null "$site/" || return 1; done
}

build() { # build NAME HOW [PACKAGE]: to a name of its own first, so that an interrupted build leaves nothing half done
  local name=$1 how=$2 package=${3:-} out="$bin/.$1.building"
  local v=k8s.io/component-base/version
  local stamp="-s -w -X $v.gitVersion=$KUBE -X $v.gitMajor=1 -X $v.gitMinor=${KUBE_MINOR} -X $v.gitTreeState=clean -X k8s.io/client-go/pkg/version.gitVersion=$KUBE"
  case $how in
    kube) (cd "$kube_modules" && go build -ldflags "$stamp" -o "$out" "k8s.io/kubernetes/cmd/$name") ;;
    etcd) (cd "$here/modules/etcd" && go build -ldflags "-s -w -X go.etcd.io/etcd/api/v3/version.Version=$ETCD" -o "$out" go.etcd.io/etcd/server/v3) ;;
    get) # `go install` knows no -o: a folder of its own serves for it
      mkdir -p "$out.d"
      GOBIN="$out.d" go install -ldflags "-s -w ${stamps[$name]:-}" "$package"
      mv "$out.d"/* "$out"
      rmdir "$out.d" ;;
  esac
  mv "$out" "$bin/$name"
}

build_missing() { # build_missing ENTRY...: with a line for each
  local todo entry start name seconds how package
  mapfile -t todo < <(missing "$@")
  if ((${#todo[@]} == 0)); then return; fi
  if ! command -v go >/dev/null; then
    echo "Go was not found: install Go 1.26 or newer; it builds the Kubernetes binaries that the cluster tests run ($total are missing in $bin)." >&2
    exit 1
  fi
  export CGO_ENABLED=0 GOFLAGS="${GOFLAGS:-} -trimpath"
  for entry in "${todo[@]}"; do
    number=$((number + 1)) start=$SECONDS
    read -r name seconds how package <<<"$entry"
    echo "building $name ($number of $total, about $seconds s)" >&2
    build "$name" "$how" "$package"
    echo "built $name in $((SECONDS - start)) s" >&2
  done
}

main() {
  number=0 total="$(missing "${plan[@]}" "${tools[@]}" | grep -c .)" || true
  build_missing "${tools[@]}"
  if [[ -n $(missing "${plan[@]}") ]]; then
    if [[ -z ${WITH_KIND:-} ]]; then build_missing "${plan[0]}"; fi
    if [[ ${BUILD:-} != always && -z ${WITH_KIND:-} ]] && downloadable; then
      echo "kwokctl downloads the Kubernetes binaries that are not in $bin at the first start" >&2
    else
      build_missing "${plan[@]}"
    fi
  fi
  echo "$bin"
}

# Two builds at once would get in each other's way; the second one waits, and finds everything there.
if [[ -n $(missing "${plan[@]}" "${tools[@]}") ]] && command -v flock >/dev/null; then
  exec 9>"$bin/.lock"
  flock --nonblock 9 || { echo "waiting for another build in $bin" >&2; flock 9; }
  main 9>&-
else
  main
fi
