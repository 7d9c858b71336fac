#!/usr/bin/env bash
# Writes what the operator's image installs from the package index, with its hashes, as a CycloneDX bill of materials. The lock
# file is all that it comes from, so the same lock gives the same bytes.
#   hack/sbom.sh OUTPUT
set -euo pipefail
output=$1
cd "$(dirname "${BASH_SOURCE[0]}")/.."
if [[ ! -x .venv/bin/cyclonedx-py ]]; then echo "cyclonedx-py is missing: run \`make venv\` first." >&2; exit 1; fi
# Its library warns that a lock file does not tell who needs whom; true, and no reason for a warning in each run.
PYTHONWARNINGS=ignore::UserWarning .venv/bin/cyclonedx-py requirements requirements.lock \
  --pyproject pyproject.toml --output-reproducible --output-format JSON --output-file "$output"
