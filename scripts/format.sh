#!/usr/bin/env bash
# Format the code and fix what ruff can fix.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

.venv/bin/ruff check --fix --quiet . || true
.venv/bin/ruff format .
