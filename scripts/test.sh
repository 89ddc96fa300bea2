#!/usr/bin/env bash
# Run the tests in a process per core and one more, for they wait a third of the time. PYTEST_ARGS adds arguments, such
# as "-k scan -x", or "-n 0 --pdb" for one process. With COVERAGE=1 branch coverage is measured, which takes a third
# more. A module's tests stay together and in order: what it shares is made once.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

cores=$(nproc 2>/dev/null || echo 1)
# each has a PostgreSQL of its own, and each daemon that it starts a media process per core
processes=$((cores < 8 ? cores + 1 : 8))
((cores > 1)) || processes=0
read -r -a extra <<<"${PYTEST_ARGS:-}"
[[ -z ${COVERAGE:-} ]] || extra=(--cov --cov-report=term "${extra[@]}")
exec .venv/bin/python -m pytest -n "$processes" --dist loadscope --no-loadscope-reorder "${extra[@]}"
