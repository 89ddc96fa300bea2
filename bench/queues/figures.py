"""What was measured: medians, ratios, a table, goals."""

import datetime as dt
import json
import os
import platform
import statistics
from collections import defaultdict
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench.queues.contender import Sent, Started, quantile
from bench.queues.idle import Idle

CONTENDERS = ("lumilio", "procrastinate", "pgqueuer")
OWN, *PEERS = CONTENDERS
CONCURRENCIES = (10, 50)

GOALS: dict[str, tuple[float | None, float | None]] = {
    "ratio_procrastinate_c10": (20.0, None),
    "cpu_ratio_procrastinate_c10": (20.0, None),
    "ratio_pgqueuer_c10": (2.0, None),
    "cpu_ratio_pgqueuer_c10": (2.0, None),
    "ratio_bulk_procrastinate": (8.0, None),
    "latency_p95_ratio": (None, 1.0),
    "claim_held_snapshot_ms": (None, 2.0),
    "slowdown_big_tables": (None, 1.2),
    "idle_statements_per_minute": (None, 6.0),
    "idle_rows_per_minute": (None, 0.0),
}
"""At least, at most."""


class Figures:
    """Values by what they are of and whose they are."""

    def __init__(self, rounds: int, flush_ms: float = 0.0) -> None:
        self.rounds = rounds
        self.flush_ms = flush_ms
        self.flushes_per_s = 0.0
        self.idle: Idle | None = None
        self._values: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))

    def add(self, what: str, whose: str, value: float) -> None:
        """Add the value of a round, or of a sample."""
        self._values[what][whose].append(value)

    def median(self, what: str, whose: str = OWN) -> float | None:
        """Return the median, if there are values."""
        values = self._values[what][whose]
        return statistics.median(values) if values else None

    def report(self) -> None:
        """Print the table, and last the JSON object."""
        self._print_table()
        if self.idle is not None:
            _print_idle(self.idle)
        result = self._result(self.idle)
        goals = {
            name: (low is None or value >= low) and (high is None or value <= high)
            for name, (low, high) in GOALS.items()
            if (value := result.get(name)) is not None
        }
        missed = [f"{name} is {result[name]}" for name, met in goals.items() if not met]
        print("goals: " + ("; ".join(missed) if missed else "all met"))
        print(json.dumps(result | {"goals": goals, "goals_met": not missed}), flush=True)

    def _print_table(self) -> None:
        print()
        print(f"{'':22}" + "".join(f"{name:>15}" for name in CONTENDERS))
        rows = [("enqueue one, jobs/s", "single"), ("enqueue many, jobs/s", "bulk")]
        for at_once in CONCURRENCIES:
            rows.append((f"drain c{at_once}, jobs/s", f"drain_c{at_once}"))
            rows.append(("  Python, CPU us/job", f"python_us_c{at_once}"))
            rows.append(("  PostgreSQL", f"postgres_us_c{at_once}"))
        for title, what in rows:
            values = [self.median(what, name) for name in CONTENDERS]
            if any(value is not None for value in values):
                print(f"{title:22}" + "".join(f"{_shown(value):>15}" for value in values))
        for whose, spread in self._latencies().items():
            print(f"idle to start, {whose}: p50 {spread['p50']:.1f} ms, p95 {spread['p95']:.1f} ms")
        if (slowdown := self._slowdown()) is not None:
            full, empty = self.median("backlog_full"), self.median("backlog_empty")
            print(f"with full tables {full:.0f} jobs/s, with empty ones {empty:.0f}: {slowdown:.2f} times slower")
        for when, title in (("fresh", "in a fresh table"), ("held", "under a held snapshot")):
            if self.median(f"claim_{when}_statement_ms") is not None:
                told = {
                    name: self.median(f"claim_{when}_{name}")
                    for name in ("jobs", "statement_ms", "statement_p95_ms", "lane_ms", "lane_p95_ms")
                }
                print(f"claim {title}: " + ", ".join(f"{name} {_exact(value)}" for name, value in told.items()))

    def _latencies(self) -> dict[str, dict[str, float]]:
        return {
            whose: {"p50": quantile(seen, 0.5), "p95": quantile(seen, 0.95), "samples": len(seen)}
            for whose, seen in self._values["latency_ms"].items()
            if seen
        }

    def _slowdown(self) -> float | None:
        return _ratio(self.median("backlog_empty"), self.median("backlog_full"))

    def _cpu_us(self, at_once: int, whose: str) -> float | None:
        python_us, postgres_us = (self.median(f"{part}_us_c{at_once}", whose) for part in ("python", "postgres"))
        return None if python_us is None or postgres_us is None else python_us + postgres_us

    def _result(self, idle: Idle | None) -> dict[str, Any]:
        latencies = self._latencies()
        result: dict[str, Any] = {
            "bench": "jobs",
            "date": dt.datetime.now(dt.UTC).strftime("%Y-%m-%d"),
            "rounds": self.rounds,
            "flush_ms": self.flush_ms,
        }
        for at_once in CONCURRENCIES:
            for peer in PEERS:
                drains = (self.median(f"drain_c{at_once}", name) for name in (OWN, peer))
                cpu = (self._cpu_us(at_once, name) for name in (peer, OWN))
                result[f"ratio_{peer}_c{at_once}"] = _rounded(_ratio(*drains))
                result[f"cpu_ratio_{peer}_c{at_once}"] = _rounded(_ratio(*cpu))
        for part in ("single", "bulk"):
            for peer in PEERS:
                result[f"ratio_{part}_{peer}"] = _rounded(_ratio(self.median(part), self.median(part, peer)))
        for share in ("p50", "p95"):
            result[f"latency_{share}_ms"] = _rounded(latencies[OWN][share]) if OWN in latencies else None
        peers_p95 = [latencies[peer]["p95"] for peer in PEERS if peer in latencies]
        own_p95 = latencies[OWN]["p95"] if OWN in latencies else None
        result |= {
            "latency_p95_ratio": _rounded(_ratio(own_p95, min(peers_p95, default=None))),
            "latency_ms": {whose: {k: _rounded(v) for k, v in of.items()} for whose, of in latencies.items()},
            "claim_held_snapshot_ms": _rounded(self.median("claim_held_statement_ms")),
            "claim_held_snapshot_p95_ms": _rounded(self.median("claim_held_statement_p95_ms")),
            "claim_fresh_ms": _rounded(self.median("claim_fresh_statement_ms")),
            "slowdown_big_tables": _rounded(self._slowdown()),
            "idle_statements_per_minute": None if idle is None else _rounded(idle.statements),
            "idle_rows_per_minute": None if idle is None else _rounded(idle.rows),
            "idle": None if idle is None else asdict(idle),
            "medians": {
                what: {whose: _rounded(self.median(what, whose)) for whose in of}
                for what, of in sorted(self._values.items())
                if what != "latency_ms"
            },
            "machine": {
                "cores": len(os.sched_getaffinity(0)),
                "arch": platform.machine(),
                "cpu": _cpu_name(),
                "flushes_per_s": round(self.flushes_per_s),
                "python": platform.python_version(),
                **{peer: version(peer) for peer in PEERS},
            },
        }
        return result


def paired_ms(sent: Sent, started: Started) -> float:
    """Return how long after its commit a job began, ms; below zero when it did before its enqueuer knew."""
    return (started.at_s - sent.committed_s) * 1000


def _print_idle(idle: Idle) -> None:
    print(
        f"idle for {idle.minutes:g} min, per minute: {idle.statements:.1f} statements, {idle.rows:.1f} rows written"
        f" ({idle.all_rows:.1f} with catalogs), {idle.wal_bytes:.0f} bytes of WAL;"
        f" {idle.daemon_cpu:.2f} % of a core, and PostgreSQL {idle.postgres_cpu:.2f} %"
    )
    for text, count in idle.commonest:
        print(f"  {count:4} {text}")


def _ratio(above: float | None, below: float | None) -> float | None:
    return above / below if above is not None and below else None


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def _shown(value: float | None) -> str:
    return "" if value is None else f"{value:.0f}"


def _exact(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _cpu_name() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()
