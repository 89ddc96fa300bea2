"""Periodic jobs in the database: each slot fires once, whatever happens."""

import datetime as dt
import logging
import threading
from dataclasses import replace

import psycopg
import pytest
from psycopg import sql

from lumiliod.db import jobs as db_jobs
from lumiliod.db.schedules import ScheduleRow
from lumiliod.domain.errors import NotFound, Shape
from lumiliod.domain.ids import JobId, uuid7
from lumiliod.domain.jobs import NewJob
from lumiliod.domain.schedules import Schedule, Timing
from lumiliod.jobs import schedule
from lumiliod.jobs.schedule import Fired

HOUR_S = 3600

Conn = psycopg.Connection


def job(unique_key: str | None = None) -> NewJob:
    return NewJob(JobId(uuid7()), "sweep", "maintenance", {"what": "é", "n": 1}, 3, 2, unique_key)


def every(every_s: int, name: str = "sweep", *, key: str | None = None, jitter_s: int = 0) -> Schedule:
    return Schedule(name, Timing(every_s=every_s, jitter_s=jitter_s), job(key))


def by_cron(cron: str, name: str = "sweep", zone: str = "UTC") -> Schedule:
    return Schedule(name, Timing(cron=cron, time_zone=zone), job())


def pass_time(conn: Conn, seconds: float) -> None:
    """Let the database's clock jump, as seen by the rows; negative: back."""
    conn.execute(
        "UPDATE job_schedules SET slot_at = slot_at - make_interval(secs => %(s)s),"
        " next_at = next_at - make_interval(secs => %(s)s)",
        {"s": seconds},
    )
    fires = conn.execute("DELETE FROM job_fires RETURNING schedule, fire_at, job_id").fetchall()
    for name, fire_at, job_id in fires:
        moved = fire_at - dt.timedelta(seconds=seconds)
        conn.execute("INSERT INTO job_fires (schedule, fire_at, job_id) VALUES (%s, %s, %s)", (name, moved, job_id))
    conn.commit()


def fire(conn: Conn) -> Fired:
    fired = schedule.fire_due(conn)
    conn.commit()  # now() is the time of the transaction
    return fired


def the_one(conn: Conn, name: str = "sweep") -> ScheduleRow:
    row = schedule.show(conn, name)
    conn.commit()
    return row


def count(conn: Conn, table: str) -> int:
    row = conn.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table))).fetchone()
    assert row is not None
    return int(row[0])


def now(conn: Conn) -> dt.datetime:
    row = conn.execute("SELECT clock_timestamp()").fetchone()
    assert row is not None
    at: dt.datetime = row[0]
    conn.commit()
    return at


def declare(conn: Conn, *schedules: Schedule) -> None:
    schedule.declare(conn, schedules)
    conn.commit()


def test_nothing_is_due_of_nothing(conn: Conn) -> None:
    schedule.declare(conn, [])
    assert fire(conn) == Fired(0, None)
    assert schedule.next_due_s(conn) is None
    assert schedule.listed(conn) == []


def test_a_slot_becomes_a_job(conn: Conn) -> None:
    declare(conn, every(HOUR_S))
    before = the_one(conn)
    assert before.slot_at == before.next_at
    assert dt.timedelta() < before.next_at - now(conn) <= dt.timedelta(hours=1)
    fired = fire(conn)
    assert fired.count == 0
    assert fired.next_due_s is not None
    assert 0 < fired.next_due_s <= HOUR_S
    pass_time(conn, HOUR_S)
    assert (due_s := schedule.next_due_s(conn)) is not None
    assert due_s <= 0
    fired = fire(conn)
    assert fired.count == 1
    assert fired.next_due_s is not None
    assert HOUR_S - 10 < fired.next_due_s <= HOUR_S

    row = the_one(conn)
    assert row.last_job_id is not None
    made = conn.execute(
        "SELECT kind, queue, state, args, priority, max_attempts FROM jobs WHERE id = %s", (row.last_job_id,)
    ).fetchone()
    assert made == ("sweep", "maintenance", "available", {"what": "é", "n": 1}, 3, 2)
    assert row.last_fire_at is not None
    assert now(conn) - row.last_fire_at < dt.timedelta(seconds=10)
    assert row.slot_at == before.slot_at  # an hour passed, and the next is an hour later: shifted rows are the same
    assert conn.execute("SELECT fire_at, job_id FROM job_fires").fetchall() == [
        (row.slot_at - dt.timedelta(hours=1), row.last_job_id)
    ]
    assert fire(conn).count == 0


def test_downtime_is_caught_up_once(conn: Conn) -> None:
    declare(conn, every(600, "interval"), by_cron("*/10 * * * *", "cron"))
    pass_time(conn, 100 * 600)
    assert fire(conn).count == 2
    assert count(conn, "jobs") == 2
    for name in ("interval", "cron"):
        row = the_one(conn, name)
        fires = conn.execute("SELECT fire_at FROM job_fires WHERE schedule = %s", (name,)).fetchall()
        (fire_at,) = fires[0]
        assert now(conn) - dt.timedelta(seconds=600) <= fire_at <= now(conn)
        assert row.slot_at - fire_at == dt.timedelta(seconds=600)
        assert row.next_at > now(conn)
    assert fire(conn).count == 0


@pytest.mark.parametrize("timing", [Timing(every_s=600, jitter_s=60), Timing(cron="*/10 * * * *", jitter_s=60)])
def test_a_clock_that_jumps_fires_no_slot_twice(conn: Conn, timing: Timing) -> None:
    declare(conn, Schedule("sweep", timing, job()))
    clock_s = 0
    seen: set[int] = set()
    fired = 0
    for step_s in (600, 600, HOUR_S, 0, -HOUR_S, 600, 600, HOUR_S, -HOUR_S, -HOUR_S, HOUR_S, 600, *[600] * 12):
        pass_time(conn, step_s)
        clock_s += step_s
        while fire(conn).count:
            fired += 1
            row = conn.execute("SELECT max(fire_at) FROM job_fires").fetchone()
            assert row is not None
            slot = round(row[0].timestamp()) + clock_s
            assert slot not in seen
            seen.add(slot)
        assert the_one(conn).next_at > now(conn)
    assert fired == len(seen) == count(conn, "jobs") == count(conn, "job_fires")
    assert fired >= 5


def test_a_slot_that_has_fired_is_passed_over(conn: Conn) -> None:
    """As when the clock was set back and the timing given anew."""
    declare(conn, every(HOUR_S))
    pass_time(conn, HOUR_S)
    fire(conn)
    conn.execute("UPDATE job_schedules SET slot_at = slot_at - interval '1 h', next_at = next_at - interval '1 h'")
    conn.commit()
    before = the_one(conn)
    assert fire(conn).count == 0
    after = the_one(conn)
    assert after.slot_at == before.slot_at + dt.timedelta(hours=1)
    assert after.last_job_id == before.last_job_id
    assert count(conn, "jobs") == 1


def test_two_leaders_fire_a_slot_once(conn: Conn, conninfo: str) -> None:
    declare(conn, every(HOUR_S))
    pass_time(conn, HOUR_S)
    with psycopg.connect(conninfo) as other:
        assert schedule.fire_due(conn).count == 1
        assert schedule.fire_due(other).count == 0  # not committed yet: its row is taken
        other.commit()
        conn.commit()
        assert schedule.fire_due(other).count == 0
    assert count(conn, "jobs") == count(conn, "job_fires") == 1


def test_many_leaders_at_the_same_moment(conn: Conn, conninfo: str) -> None:
    declare(conn, *[every(HOUR_S, f"sweep {number}") for number in range(20)])
    pass_time(conn, 5 * HOUR_S)
    counts: list[int] = []
    together = threading.Barrier(4)

    def lead() -> None:
        with psycopg.connect(conninfo) as own:
            for _ in range(5):
                together.wait(20)
                counts.append(schedule.fire_due(own).count)
                own.commit()

    threads = [threading.Thread(target=lead) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(counts) == 20
    assert sum(counts) == count(conn, "jobs") == count(conn, "job_fires") == 20


def test_a_job_that_is_open_already_is_the_slots(conn: Conn) -> None:
    declare(conn, every(HOUR_S, key="only"))
    open_job = job("only")
    assert db_jobs.enqueue(conn, [open_job])
    conn.commit()
    pass_time(conn, HOUR_S)
    assert fire(conn).count == 1
    assert the_one(conn).last_job_id == open_job.id
    assert conn.execute("SELECT job_id FROM job_fires").fetchall() == [(open_job.id,)]
    assert count(conn, "jobs") == 1
    assert schedule.run_now(conn, "sweep") == open_job.id


def test_what_is_paused_fires_nothing_and_makes_up_for_nothing(conn: Conn) -> None:
    declare(conn, every(600), by_cron("*/10 * * * *", "cron"))
    for name in ("sweep", "cron"):
        schedule.set_paused(conn, name, True)
    conn.commit()
    paused_at = the_one(conn).paused_at
    schedule.set_paused(conn, "sweep", True)
    assert the_one(conn).paused_at == paused_at
    slot_at = the_one(conn).slot_at
    pass_time(conn, 1500)
    assert fire(conn) == Fired(0, None)
    declare(conn, every(600), by_cron("*/10 * * * *", "cron"))
    assert the_one(conn).paused_at == paused_at
    for name in ("sweep", "cron"):
        schedule.set_paused(conn, name, False)
    conn.commit()
    row = the_one(conn)
    assert row.paused_at is None
    assert dt.timedelta() < row.next_at - now(conn) <= dt.timedelta(seconds=600)
    assert (row.slot_at - slot_at) % dt.timedelta(seconds=300) == dt.timedelta()  # the grid it was on
    assert fire(conn).count == 0
    pass_time(conn, 600)
    assert fire(conn).count == 2


def test_declaring_again_changes_nothing(conn: Conn) -> None:
    declare(conn, every(HOUR_S, jitter_s=60))
    pass_time(conn, 1800)
    written = conn.execute("SELECT xmin, * FROM job_schedules").fetchall()
    conn.commit()
    declare(conn, every(HOUR_S, jitter_s=60))
    assert conn.execute("SELECT xmin, * FROM job_schedules").fetchall() == written


def test_code_changes_what_and_when(conn: Conn) -> None:
    declare(conn, every(HOUR_S))
    wanted = Schedule("sweep", Timing(cron="0 3 * * *", time_zone="Europe/Zurich"), job()._replace(queue="other"))
    declare(conn, wanted)
    row = the_one(conn)
    assert (row.queue, row.cron, row.every_s, row.time_zone) == ("other", "0 3 * * *", None, "Europe/Zurich")
    assert row.slot_at.astimezone(wanted.timing.zone()).hour == 3
    assert row.changed_at is None


def test_a_persons_timing_stays(conn: Conn) -> None:
    declare(conn, every(HOUR_S))
    schedule.set_timing(conn, "sweep", Timing(every_s=600, jitter_s=60))
    conn.commit()
    chosen = the_one(conn)
    assert chosen.changed_at is not None
    assert chosen.next_at - now(conn) <= dt.timedelta(seconds=660)
    declare(conn, replace(every(7200), job=job()._replace(queue="other")))
    row = the_one(conn)
    assert (row.timing, row.slot_at, row.next_at) == (chosen.timing, chosen.slot_at, chosen.next_at)
    assert row.queue == "other"


def test_a_clock_that_was_years_ahead_does_not_silence(conn: Conn) -> None:
    declare(conn, every(HOUR_S), by_cron("0 3 * * *", "cron"))
    pass_time(conn, -5 * 365 * 86_400)
    assert fire(conn).count == 0
    declare(conn, every(HOUR_S), by_cron("0 3 * * *", "cron"))
    assert the_one(conn).next_at - now(conn) <= dt.timedelta(hours=1)
    assert the_one(conn, "cron").next_at - now(conn) <= dt.timedelta(days=1)


def test_undeclaring(conn: Conn) -> None:
    declare(conn, every(600, "scan:a"), every(600, "scan:b"), every(600, "sweep"), every(600, "scan%"))
    pass_time(conn, 600)
    fire(conn)
    assert schedule.undeclare(conn, "scan:", keep=["scan:b"]) == ["scan:a"]
    assert [row.name for row in schedule.listed(conn)] == ["scan%", "scan:b", "sweep"]
    assert count(conn, "job_fires") == 3


def test_running_now_uses_no_slot(conn: Conn) -> None:
    declare(conn, every(HOUR_S))
    schedule.set_paused(conn, "sweep", True)
    conn.commit()
    before = the_one(conn)
    job_id = schedule.run_now(conn, "sweep")
    conn.commit()
    row = the_one(conn)
    assert row.last_job_id == job_id
    assert row.last_fire_at is not None
    assert (row.slot_at, row.next_at, row.paused_at) == (before.slot_at, before.next_at, before.paused_at)
    assert count(conn, "jobs") == 1
    assert count(conn, "job_fires") == 0


def test_what_is_unknown_or_wrong_is_refused(conn: Conn) -> None:
    declare(conn, every(HOUR_S))
    with pytest.raises(NotFound) as missing:
        schedule.run_now(conn, "nothing")
    assert missing.value.code == "schedule_not_found"
    with pytest.raises(NotFound):
        schedule.set_paused(conn, "nothing", True)
    with pytest.raises(NotFound):
        schedule.set_timing(conn, "nothing", Timing(every_s=60))
    with pytest.raises(Shape) as wrong:
        schedule.set_timing(conn, "sweep", Timing(cron="0 0 31 2 *"))
    assert wrong.value.code == "bad_cron"
    with pytest.raises(Shape) as wrong:
        schedule.declare(conn, [by_cron("0 3 * * *", zone="Mars/Olympus")])
    assert wrong.value.code == "bad_time_zone"


@pytest.mark.parametrize("broken", ["time_zone = 'Gone/Away'", "cron = 'so it is not'", "cron = '0 0 31 2 *'"])
def test_a_broken_row_does_not_stop_the_others(conn: Conn, caplog: pytest.LogCaptureFixture, broken: str) -> None:
    declare(conn, by_cron("*/10 * * * *", "broken"), every(600, "whole"))
    conn.execute(f"UPDATE job_schedules SET {broken} WHERE name = 'broken'".encode())
    pass_time(conn, 600)
    with caplog.at_level(logging.ERROR):
        fired = fire(conn)
        assert fire(conn).count == 0
    assert fired.count == 1
    assert [record.message for record in caplog.records] == ["a schedule cannot be evaluated"]
    assert the_one(conn, "whole").last_job_id is not None
    row = the_one(conn, "broken")
    assert row.last_job_id is None
    assert dt.timedelta(minutes=59) < row.next_at - now(conn) <= dt.timedelta(hours=1)
    schedule.set_timing(conn, "broken", Timing(every_s=60))
    conn.commit()
    pass_time(conn, 60)
    assert fire(conn).count == 1


def test_old_fires_are_forgotten(conn: Conn) -> None:
    declare(conn, every(60), every(60, "other"))
    conn.execute(
        "INSERT INTO job_fires (schedule, fire_at)"
        " SELECT 'sweep', now() - make_interval(days => n) FROM generate_series(1, 300) AS n"
    )
    conn.execute("INSERT INTO job_fires (schedule, fire_at) SELECT 'other', now() - interval '1 year'")
    conn.commit()
    pass_time(conn, 60)
    assert fire(conn).count == 2
    counts = conn.execute("SELECT schedule, count(*) FROM job_fires GROUP BY schedule ORDER BY schedule").fetchall()
    assert counts == [("other", 2), ("sweep", schedule.FIRES_KEPT)]
    latest = conn.execute("SELECT max(fire_at) > now() - interval '5 min' FROM job_fires WHERE schedule = 'sweep'")
    assert latest.fetchone() == (True,)
