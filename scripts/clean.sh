#!/usr/bin/env bash
# Remove what was built in this checkout; libraries and their state are somewhere else and stay.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

rm -rf -- .venv .demo dist build htmlcov .coverage .coverage.* .mypy_cache .ruff_cache .pytest_cache .hypothesis \
    .import_linter_cache
find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf -- {} +
