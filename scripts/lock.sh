#!/usr/bin/env bash
# Renew the lock files. Needs uv (https://docs.astral.sh/uv/): $UV, else the one in PATH.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

uv=${UV:-uv}
if ! command -v -- "$uv" >/dev/null; then
    echo "lock: uv is needed: install it, or say where it is: make lock UV=/path/to/uv" >&2
    exit 1
fi
options=(--quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header)
"$uv" pip compile "${options[@]}" --upgrade --extra dev --extra ml --extra s3 pyproject.toml -o requirements.lock
printf '%s\n' 'scikit-image>=0.26' 'scikit-learn>=1.8' 'perception>=0.9' |
    "$uv" pip compile "${options[@]}" --no-deps --no-annotate - -o scripts/photographs.lock >/dev/null
printf '%s\n' 'systemd-python>=235' |
    "$uv" pip compile "${options[@]}" --no-deps --no-annotate - -o scripts/systemd.lock >/dev/null
git --no-pager diff --stat -- '*.lock' || true
