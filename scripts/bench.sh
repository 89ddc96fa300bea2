#!/usr/bin/env bash
# Run every benchmark, one after the other: each prints a table and, last, one JSON object.
# BENCH=short runs the short form, a check that it works and not a measurement.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

arguments=()
if [[ ${BENCH:-long} == short ]]; then
    arguments=(--short)
fi
for file in bench/[a-z]*.py; do
    printf '== %s\n' "$file"
    .venv/bin/python "$file" "${arguments[@]}"
done
