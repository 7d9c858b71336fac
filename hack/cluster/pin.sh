#!/usr/bin/env bash
# Pins another Kubernetes that clusters can be started with: writes modules/kubernetes-1.MINOR with every dependency of its
# control plane, as Kubernetes' own go.mod has them. `KUBE=v1.MINOR hack/cluster/build.sh` then builds it.
#   pin.sh VERSION       e.g. v1.32.13
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
version="${1:-}"
[[ $version =~ ^v1\.([0-9]+)\.([0-9]+)$ ]] || { echo "usage: pin.sh VERSION, e.g. v1.32.13" >&2; exit 2; }
minor=${BASH_REMATCH[1]} patch=${BASH_REMATCH[2]}
module="$here/modules/kubernetes-1.$minor"

part() { # part MODULE: its newest version that is not above Kubernetes' own; a proxy may lack some
  local found
  found="$(cd / && go list -m -versions "$1" | tr ' ' '\n' | sed -n "s/^v0\.$minor\.\([0-9]*\)$/\1/p" | awk -v most="$patch" '$1 <= most' | sort -n | tail -n 1)"
  [[ -n $found ]] || return 1
  if [[ $found != "$patch" ]]; then echo "$1 is taken from v0.$minor.$found" >&2; fi
  echo "v0.$minor.$found"
}

echo "Reading the go.mod of Kubernetes $version ..." >&2
source="$(cd / && go mod download -json "k8s.io/kubernetes@$version" | sed -n 's/^\t"GoMod": "\(.*\)",$/\1/p')"
rm -rf "$module"
mkdir -p "$module"
# Within Kubernetes its own parts are folders; as modules they have a version each. The samples and the generators are no part of a
# control plane, and not every proxy has them.
mapfile -t parts < <(sed -n 's|^\t\(k8s.io/[a-z-]*\) => ./staging/.*|\1|p' "$source")
without=() replaced=()
for each in "${parts[@]}"; do
  if [[ $each != */sample-* && $each != */code-generator ]] && found="$(part "$each")"; then replaced+=("$each => $each $found"); else without+=("$each"); fi
done
{ printf 'module hack/kubernetes\n\n'
  grep -E '^(go|godebug) ' "$source"
  printf '\nrequire k8s.io/kubernetes %s\n\nexclude (\n' "$version"
  printf '\t%s v0.0.0\n' "${without[@]}"
  printf ')\n\n'
  awk '/^require \(/,/^\)/' "$source" | grep -vwF "$(printf '%s v0.0.0\n' "${without[@]}")"
  printf '\nreplace (\n'
  printf '\t%s\n' "${replaced[@]}"
  # grep fails where no line is left: a release that replaces nothing else.
  awk '/^replace \(/,/^\)/' "$source" | grep -vE '^(replace|\))|=> ./staging/' || true
  printf ')\n'
} >"$module/go.mod"
{ printf '//go:build tools\n\npackage tools\n\nimport (\n'
  for program in kube-apiserver kube-controller-manager kube-scheduler kubectl; do printf '\t_ "k8s.io/kubernetes/cmd/%s"\n' "$program"; done
  printf ')\n'
} >"$module/tools.go"
echo "Resolving what its control plane needs ..." >&2
(cd "$module" && go mod tidy)
echo "Wrote ${module#"$here/"}." >&2
