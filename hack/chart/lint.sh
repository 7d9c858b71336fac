#!/usr/bin/env bash
# helm lint and checkov on what the chart renders, with each file of values in its ci/. checkov pins many packages, so it has an environment and a lock of its own.
#   lint.sh [--lock]    --lock: write checkov.lock again with the newest checkov
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
lock=hack/chart/checkov.lock venv=.work/checkov chart=charts/scaleset-operator

if [[ ${1:-} == --lock ]]; then
  echo "Resolving the newest checkov ..."
  [[ -x .work/lock/bin/uv ]] || { echo "run \`make lock\` once: it installs uv" >&2; exit 1; }
  { echo "# Written by \`hack/chart/lint.sh --lock\`."
    echo checkov | .work/lock/bin/uv pip compile - --quiet --universal --python-version 3.11 --generate-hashes --only-binary :all: \
      --no-emit-index-url --no-emit-find-links --no-header --no-annotate; } >"$lock.new"
  mv "$lock.new" "$lock"
  exit
fi

stamp="$(.venv/bin/python -V) $(sha256sum <"$lock")"
if [[ $stamp != "$(cat "$venv/installed" 2>/dev/null)" ]]; then
  echo "Installing checkov into $venv (a minute the first time) ..."
  rm -rf "$venv"
  .venv/bin/python -m venv "$venv"
  "$venv/bin/python" -m pip --disable-pip-version-check --quiet install --require-hashes --no-deps --only-binary :all: --requirement "$lock"
  echo "$stamp" >"$venv/installed"
fi
helm="$(WITH_HELM=1 hack/cluster/build.sh)/helm"

# What checkov asks for and does not get, and why.
excused=(
  CKV_K8S_15 # pull policy Always: a tag of ours never moves, and a registry that is down must not keep the operator from starting
  CKV_K8S_38 # no token in the pod: talking to the API server is what the operator does
  CKV_K8S_40 # a high UID: the image has one; a fixed one in the chart is refused where the cluster hands out UIDs (OpenShift)
  CKV_K8S_43 # image by digest: `image.digest` is there for it; the digest is only known once the image is in your registry
)
# The pod of `helm test` runs once and ends.
excused_test=(
  CKV_K8S_8 CKV_K8S_9 # liveness and readiness probes
  CKV2_K8S_6 # a NetworkPolicy: it has to reach the operator from where the operator's own policy does not hold
)
# A file of values in ci/ with a reason of its own.
declare -A excused_values=(
  [namespaced]=CKV_K8S_21 # it serves the namespace `default`, which every cluster has, so that chart-testing can install it
)

scan() { # scan NAME OPTION...
  local name=$1; shift
  "$venv/bin/checkov" --file ".work/chart-lint/$name.yaml" --framework kubernetes --compact --quiet --skip-download "$@" 2>&1
}
join() { local IFS=,; echo "$*"; }

mkdir -p .work/chart-lint
render=("$helm" template scaleset-operator "$chart" --namespace scaleset-system)
"${render[@]}" --show-only templates/tests/test-operator.yaml >.work/chart-lint/test.yaml
scan test --skip-check "$(join "${excused[@]}" "${excused_test[@]}")"
for values in "$chart"/ci/*-values.yaml; do
  name="$(basename "$values" -values.yaml)"
  "$helm" lint --strict --quiet "$chart" --values "$values"
  "${render[@]}" --skip-tests --values "$values" >".work/chart-lint/$name.yaml"
  scan "$name" --skip-check "$(join "${excused[@]}" ${excused_values[$name]:-})"
done
echo "The chart has no findings but those that hack/chart/lint.sh excuses."
