#!/usr/bin/env bash
# Run every check, two at a time; print a verdict each, and the output of those that fail.
set -uo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." || exit

bin=$PWD/.venv/bin
# What flake8-async leaves off by default stays off (--select would turn it on), and:
#   ASYNC114  wants a list of every function with task_status
#   ASYNC127  would have httpx2 for httpx; one module knows httpx, so that is one decision
#   supervise.py hands task_status to an object; main.py looks into exception groups before it re-raises
async_off=$("$bin/python" -c 'from flake8_async.visitors import default_disabled_error_codes as off; print(",".join(off))')
async_options=(
    --isolated --select ASYNC --extend-ignore "$async_off,ASYNC114,ASYNC127"
    --per-file-ignores 'lumiliod/daemon/supervise.py:ASYNC128,lumiliod/daemon/main.py:ASYNC103'
)
results=$(mktemp -d)
trap 'rm -rf -- "$results"' EXIT
export PYRIGHT_PYTHON_IGNORE_WARNINGS=1 PYRIGHT_PYTHON_NODE_PROGRESSBAR=off NO_COLOR=1

# step NAME COMMAND...: run a command, keep its output and verdict
step() {
    local name=$1 from=$EPOCHREALTIME status=0
    shift
    "$@" >"$results/$name.out" 2>&1 </dev/null || status=$?
    local ms=$(((${EPOCHREALTIME/[.,]/} - ${from/[.,]/}) / 1000))
    printf '%s %d.%d\n' "$status" $((ms / 1000)) $((ms % 1000 / 100)) >"$results/$name.status"
}

quick() {
    step ruff-format "$bin/ruff" format --check .
    step ruff "$bin/ruff" check .
    step flake8-async "$bin/flake8" "${async_options[@]}" lumiliod lumilio_tui
    step import-linter "$bin/lint-imports" --no-cache
    if command -v shellcheck >/dev/null; then
        step shellcheck shellcheck -x scripts/*.sh packaging/deb/*.sh .ci/run
    fi
    step pyright "$bin/pyright"
}

quick &
step mypy "$bin/mypy"
wait

failed=0
for name in ruff-format ruff flake8-async import-linter shellcheck mypy pyright; do
    [[ -e $results/$name.status ]] || continue
    read -r status seconds <"$results/$name.status"
    if [[ $status -eq 0 ]]; then
        printf 'ok    %-14s %5s s   %s\n' "$name" "$seconds" "$(grep -v '^ *$' "$results/$name.out" | tail -n 1)"
    else
        failed=1
        printf 'FAIL  %-14s %5s s\n' "$name" "$seconds"
        sed 's/^/      /' "$results/$name.out"
    fi
done
[[ $failed -eq 0 ]] && echo "all checks passed"
exit "$failed"
