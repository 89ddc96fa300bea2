import json
from typing import Any

import pytest

from bench.queues.children import paired
from bench.queues.contender import Sent, Started, quantile
from bench.queues.figures import Figures, paired_ms
from bench.queues.idle import STATEMENT, Idle


def reported(figures: Figures, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    figures.report()
    result: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
    return result


def test_a_ratio_is_above_one_when_ours_is_better(capsys: pytest.CaptureFixture[str]) -> None:
    figures = Figures(rounds=3)
    for ours, theirs in ((90.0, 30.0), (100.0, 50.0), (110.0, 70.0)):
        figures.add("drain_c10", "lumilio", ours)
        figures.add("drain_c10", "pgqueuer", theirs)
    for part, ours, theirs in (("python", 30.0, 20.0), ("postgres", 10.0, 60.0)):
        figures.add(f"{part}_us_c10", "lumilio", ours)
        figures.add(f"{part}_us_c10", "pgqueuer", theirs)
    result = reported(figures, capsys)
    assert result["ratio_pgqueuer_c10"] == 2.0
    assert result["cpu_ratio_pgqueuer_c10"] == 2.0
    assert result["ratio_procrastinate_c10"] is None
    assert result["goals"] == {"ratio_pgqueuer_c10": True, "cpu_ratio_pgqueuer_c10": True}
    assert result["goals_met"] is True


def test_a_missed_goal_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    figures = Figures(rounds=1)
    figures.add("backlog_empty", "lumilio", 300.0)
    figures.add("backlog_full", "lumilio", 100.0)
    figures.idle = Idle(
        minutes=1.0,
        statements=5.0,
        rows=0.0,
        all_rows=0.0,
        wal_bytes=0.0,
        daemon_cpu=0.1,
        postgres_cpu=0.1,
        commonest=[("SELECT", 5)],
    )
    result = reported(figures, capsys)
    assert result["slowdown_big_tables"] == 3.0
    assert result["goals"]["slowdown_big_tables"] is False
    assert result["goals"]["idle_statements_per_minute"] is True
    assert result["goals_met"] is False


def test_quantile_is_one_of_the_values() -> None:
    values = [float(number) for number in range(1, 101)]
    assert [quantile(values, share) for share in (0.0, 0.5, 0.95, 1.0)] == [1.0, 50.0, 95.0, 100.0]
    assert quantile([7.0], 0.95) == 7.0


def test_what_was_enqueued_is_paired_with_what_began() -> None:
    sent = [{"number": 0, "called_s": 1.0, "committed_s": 1.001}, {"number": 1, "called_s": 2.0, "committed_s": 2.5}]
    seen = [{"number": -1, "at_s": 0.5}, {"number": 1, "at_s": 2.25}, {"number": 0, "at_s": 1.003}]
    pairs = paired(sent, seen)
    assert pairs == [(Sent(0, 1.0, 1.001), Started(0, 1.003)), (Sent(1, 2.0, 2.5), Started(1, 2.25))]
    assert [round(paired_ms(*pair)) for pair in pairs] == [2, -250]


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("2026-11-23 01:00:00.000 UTC [42] LOG:  statement: BEGIN", ("42", "BEGIN")),
        ("2026-11-23 01:00:00.000 UTC [7] LOG:  execute <unnamed>: SELECT 1", ("7", "SELECT 1")),
        ("2026-11-23 01:00:00.000 UTC [7] LOG:  execute _pg3_2: SELECT a::text", ("7", "SELECT a::text")),
        ("2026-11-23 01:00:00.000 UTC [7] DETAIL:  Parameters: $1 = 'statement: x'", None),
        ("2026-11-23 01:00:00.000 UTC [9] LOG:  checkpoint starting: time", None),
    ],
)
def test_a_statement_is_known_by_its_line_in_the_log(line: str, found: tuple[str, str] | None) -> None:
    match = STATEMENT.search(line)
    assert (match and match.groups()) == found
