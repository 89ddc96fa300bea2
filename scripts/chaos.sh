#!/usr/bin/env bash
# Run the long form of what proves the job engine: random histories beside a model, workers killed and
# stopped at random, a database that goes away; and of what proves that originals are safe: operations killed at
# every single step, the daemon killed while originals move; and of what proves that the catalogue is in step with the
# disk: changes at random beside a daemon that watches. Each of these variables can be given.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

export LUMILIO_EXAMPLES=${LUMILIO_EXAMPLES:-1500}
export LUMILIO_CHAOS_JOBS=${LUMILIO_CHAOS_JOBS:-20000}
export LUMILIO_CHAOS_SECONDS=${LUMILIO_CHAOS_SECONDS:-150}
export LUMILIO_CHAOS_SEED=${LUMILIO_CHAOS_SEED:-$RANDOM}
export LUMILIO_OUTAGE_SECONDS=${LUMILIO_OUTAGE_SECONDS:-60}
export LUMILIO_STRIDE=${LUMILIO_STRIDE:-1}
export LUMILIO_INTEGRITY_KILLS=${LUMILIO_INTEGRITY_KILLS:-1000}
export LUMILIO_WATCH_OPERATIONS=${LUMILIO_WATCH_OPERATIONS:-20000}
export LUMILIO_WATCH_SEEDS=${LUMILIO_WATCH_SEEDS:-$RANDOM}
.venv/bin/python -m pytest -s tests/jobs/test_machine.py tests/jobs/test_chaos.py tests/jobs/test_outage.py
exec .venv/bin/python -m pytest tests/pipeline tests/bench/test_integrity.py tests/bench/test_watch.py
