#!/usr/bin/env bash
# Run the tests with branch coverage. PYTEST_ARGS adds arguments, such as "-k scan -x".
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

read -r -a extra <<<"${PYTEST_ARGS:-}"
exec .venv/bin/python -m pytest --cov --cov-report=term "${extra[@]}"
