#!/usr/bin/env bash
# Builds a kind node image from Debian packages and Go modules, for where no registry can be reached: a real kubelet,
# containerd, kube-proxy, CoreDNS and a volume provisioner. Prints its name. Two minutes on 2 cores once the binaries of
# hack/cluster/build.sh are there; nothing to do until one of its inputs changes.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
source "$here/../cluster/versions.sh"
PACKAGES=(systemd systemd-sysv dbus iptables nftables iproute2 conntrack ethtool socat kmod mount util-linux procps jq
  ca-certificates curl containerd runc containernetworking-plugins ipset busybox-static)
base="scaleset/debian-node:bookworm-$(cat "$here/debian.sh" <(echo "${PACKAGES[@]}") | sha256sum | cut -c1-8)"
key="$(cat "$here"/node.sh "$here"/debian.sh "$here"/node/* "$here"/../cluster/versions.sh "$here"/../cluster/modules/{etcd,kubernetes}/go.sum | sha256sum | cut -c1-12)"
image="scaleset/kind-node:$KUBE-$key"
bin="$(WITH_KIND=node "$here/../cluster/build.sh")"
work="$(mktemp -d)"
container='' parts=()

clean() {
  if [[ -n $container ]]; then docker rm -f "$container" >/dev/null 2>&1 || true; fi
  # They bear the names that kubeadm asks for, which belong to others.
  if ((${#parts[@]})); then docker rmi "${parts[@]}" >/dev/null 2>&1 || true; fi
  docker rmi scaleset/kind-node:parts >/dev/null 2>&1 || true
  rm -rf "$work"
}

build() { # build IMAGE DIR [OPTION...]: one line of error instead of a page
  docker build --tag "$1" "${@:3}" "$2" >"$work/log" 2>&1 || { echo "Building $1 failed: $(tail -n 3 "$work/log")" >&2; exit 1; }
}

part() { # part IMAGE FILE PATH [ENTRYPOINT] [FROM]: an image of one program
  local dir="$work/part"
  rm -rf "$dir"; mkdir "$dir"; cp "$2" "$dir/file"
  printf 'FROM %s\nENV PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\nCOPY file %s\nENTRYPOINT %s\n' "${5:-scratch}" "$3" "${4:-[]}" >"$dir/Dockerfile"
  build "$1" "$dir"
  parts+=("$1")
}

wanted() { # the name that kubeadm has for an image, e.g. wanted coredns
  grep -m 1 "/$1:" "$work/wanted"
}

parts_of_cluster() {
  local name
  "$bin/kubeadm" config images list --kubernetes-version "$KUBE" >"$work/wanted"
  (cd "$here/node" && CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o "$work/pause" pause.go)
  for name in kube-apiserver kube-controller-manager kube-scheduler etcd; do
    part "$(wanted "$name")" "$bin/$name" "/usr/local/bin/$name"
  done
  part "$(wanted kube-proxy)" "$bin/kube-proxy" /usr/local/bin/kube-proxy '[]' "$base"
  part "$(wanted pause)" "$work/pause" /pause '["/pause"]'
  part "$(wanted coredns)" "$bin/coredns" /coredns '["/coredns"]'
  part scaleset/local-path-provisioner:$LOCAL_PATH "$bin/local-path-provisioner" /local-path-provisioner
  docker create --name "scaleset-busybox-$$" "$base" true >/dev/null
  docker cp "scaleset-busybox-$$:/bin/busybox" "$work/busybox" >/dev/null
  docker rm "scaleset-busybox-$$" >/dev/null
  part scaleset/busybox:static "$work/busybox" /bin/busybox '["/bin/busybox"]'
  printf 'FROM scaleset/busybox:static\nRUN ["/bin/busybox", "--install", "-s", "/bin"]\nENTRYPOINT []\nCMD ["/bin/sh"]\n' >"$work/part/Dockerfile"
  build scaleset/busybox:static "$work/part"
  docker save --output "$work/parts.tar" "${parts[@]}"
}

node_image() {
  mkdir "$work/node"
  cp "$here"/node/* "$bin/kubeadm" "$bin/kubelet" "$bin/kubectl" "$work/node/"
  rm "$work/node/pause.go"
  sed -i "s|\${PAUSE}|$(wanted pause)|" "$work/node/containerd.toml"
  sed -i "s|\${LOCAL_PATH}|$LOCAL_PATH|" "$work/node/default-storage.yaml"
  echo "$KUBE" >"$work/node/version"
  build scaleset/kind-node:parts "$work/node" --build-arg "BASE=$base"
  container="$(docker run --detach --privileged --entrypoint sleep scaleset/kind-node:parts infinity)"
  docker exec --privileged --detach "$container" containerd
  docker cp "$work/parts.tar" "$container:/parts.tar" >/dev/null
  docker exec --privileged "$container" sh -euc '
    for _ in $(seq 300); do ctr version >/dev/null 2>&1 && break; sleep 0.2; done
    ctr -n k8s.io images import --label=io.cri-containerd.pinned=pinned --all-platforms --no-unpack --digests /parts.tar >/dev/null
    rm /parts.tar
    pid="$(pidof containerd)"; kill "$pid"
    for _ in $(seq 300); do kill -0 "$pid" 2>/dev/null || break; sleep 0.2; done
    rm -rf /run/containerd'
  docker commit --change 'ENTRYPOINT ["/usr/local/bin/entrypoint","/sbin/init"]' --change 'CMD []' "$container" "$image" >/dev/null
}

main() {
  trap clean EXIT
  echo "Building the node image $image (two to five minutes) ..." >&2
  # Where the docker client has no buildx plugin it would warn about it, and use the classic builder anyway.
  docker buildx version >/dev/null 2>&1 || export DOCKER_BUILDKIT=0
  "$here/debian.sh" "$base" "${PACKAGES[@]}"
  parts_of_cluster
  node_image
}

# Two builds at once would do the same work twice; the second one waits, and finds it done.
exec 9>"$bin/.node-image.lock"
flock 9
docker image inspect "$image" >/dev/null 2>&1 || main 9>&-
rm -rf "$work"
echo "$image"
