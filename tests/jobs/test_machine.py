"""The job table driven through random histories beside a model of it: nothing is lost, nothing is done twice.

``LUMILIO_EXAMPLES`` gives the number of histories; without it a fixed choice of them is run, the same every time.
"""

import datetime as dt
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar
from uuid import UUID

import psycopg
import pytest
import trio
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from psycopg.rows import dict_row

from lumiliod.db import job_admin, queues, waking, workers
from lumiliod.db import jobs as db_jobs
from lumiliod.db.job_admin import TABLED
from lumiliod.db.pool import Connection
from lumiliod.domain.errors import Conflict
from lumiliod.domain.ids import JobId, uuid7
from lumiliod.domain.jobs import ClaimedJob, FailedAttempt, JobFilter, NewJob, NewJobs, OnConflict
from lumiliod.jobs.buffer import Floors
from lumiliod.jobs.kind import JobSpec
from lumiliod.library.task_control import FAILED, WAITING
from tests.jobs.model import Job, Model

T = TypeVar("T")

EXAMPLES = int(os.environ.get("LUMILIO_EXAMPLES", "0"))
HOUR = dt.timedelta(hours=1)
LEASE_S = 3600.0

SPECS = {kind: JobSpec(kind, queue, max_attempts=3) for kind, queue in {"a": "q", "b": "q", "c": "r"}.items()}
KINDS = {"q": ("a", "b"), "r": ("c",)}
TAGS = ("odd", "even")

TABLES = """
DELETE FROM jobs; DELETE FROM job_history; DELETE FROM job_waits; DELETE FROM job_groups; DELETE FROM job_queues;
DELETE FROM workers; SELECT pg_advisory_unlock_all()
"""
ROWS = """
SELECT jobs.*, scheduled_at <= now() AS due, (SELECT count(*) FROM job_waits WHERE job_id = jobs.id) AS waits,
       ARRAY(SELECT error ->> 'code' FROM jsonb_array_elements(errors) AS error) AS codes
FROM jobs ORDER BY seq
"""
HISTORY = """
SELECT id, state, kind, unique_key, group_id, tags, attempt,
       ARRAY(SELECT error ->> 'code' FROM jsonb_array_elements(errors) AS error) AS codes
FROM job_history
"""


@dataclass
class Wish:
    """A job to be enqueued, as drawn: what it comes after is counted from the newest job or group."""

    kind: str
    priority: int
    key: str | None
    how: OnConflict
    when: str
    after: list[int]
    group: int | None
    tag: str | None


WISHES = st.builds(
    Wish,
    kind=st.sampled_from("aabc"),
    priority=st.integers(1, 3),
    key=st.sampled_from([None, "k", "l"]),
    how=st.sampled_from(OnConflict),
    when=st.sampled_from(["now", "now", "past", "later"]),
    after=st.lists(st.integers(-2, 6), max_size=2),
    group=st.sampled_from([None, None, 0, 1]),
    tag=st.sampled_from([None, *TAGS]),
)
IDS = st.lists(st.integers(0, 30), min_size=1, max_size=3)
FILTERS = st.one_of(
    *[IDS] * 12,
    st.builds(JobFilter, kind=st.sampled_from("abc")),
    st.builds(JobFilter, queue=st.sampled_from("qr")),
    st.builds(JobFilter, tag=st.sampled_from(TAGS)),
    st.builds(JobFilter, state=st.sampled_from(TABLED)),
)
"""Which jobs a person means; numbers stand for ids."""
NTH = st.integers(0, 30)
PICKS = st.lists(st.tuples(NTH, st.booleans()), min_size=1, max_size=6)
"""Attempts: which, and whether rather lost ones."""
COUNTS = st.lists(st.integers(1, 6), min_size=2, max_size=2)
"""How many of each kind of a queue."""


@dataclass(eq=False)
class Worker:
    """A worker that lives as long as its lock is held; its row may go before it knows."""

    id: UUID
    lock_key: int
    alive: bool = True
    floors: Floors = field(default_factory=Floors)


def pick(found: Sequence[T], nth: int) -> T:
    return found[nth % len(found)]


class Machine(RuleBasedStateMachine):
    """The verbs of the database, in any order; after each the tables are what the model says."""

    def __init__(self, conn: Connection, locks: Connection) -> None:
        super().__init__()
        self.conn, self.locks = conn, locks
        for table in TABLES.split(";"):
            locks.execute(table.encode())
        self.model = Model()
        self.workers: list[Worker] = []
        self.rows: set[UUID] = set()
        self.claims: list[tuple[Worker, ClaimedJob]] = []
        self.paused: set[str] = set()
        self.groups = [uuid7(), uuid7()]
        self.finished: set[JobId] = set()
        self.join()
        self.join()

    # helpers

    def call(self, fn: Callable[..., T], *args: Any) -> T:
        """Run one transaction, as the engine does, and check whom it wakes."""
        waking.take_woken(self.conn)
        before = {job.new.id for job in self.model.in_state("available")}
        with self.conn.transaction():
            value = fn(self.conn, *args)
        self.before, self.woken = before, waking.take_woken(self.conn)
        return value

    def wakes(self) -> None:
        """Check that the lanes of what the last transaction made available hear of it."""
        fresh = [job for job in self.model.in_state("available") if job.new.id not in self.before]
        assert {job.new.queue for job in fresh} <= self.woken.queues | self.woken.again

    def join(self) -> None:
        worker = Worker(uuid7(), 1000 + len(self.workers))
        assert workers.lock_worker(self.locks, worker.lock_key)
        self.call(workers.register_worker, worker.id, "here", 1, worker.lock_key, LEASE_S)
        self.workers.append(worker)
        self.rows.add(worker.id)

    def ids(self, wanted: JobFilter | list[int]) -> JobFilter:
        """Return a filter of ids for numbers drawn."""
        if isinstance(wanted, JobFilter):
            return wanted
        return JobFilter(ids=tuple({pick(self.model.ever, nth) for nth in wanted} if self.model.ever else ()))

    def held(self, nth: int, zombie: bool) -> ClaimedJob:
        """Return an attempt that runs or, if there is one, a lost one of a job that another worker runs by now."""
        running = {one: job.token for one, job in self.model.jobs.items() if job.token is not None}
        current = [job for _, job in self.claims if running.get(job.id) == job.token]
        lost = [job for _, job in self.claims if running.get(job.id, job.token) != job.token]
        ended = [job for _, job in self.claims]
        return pick(((lost or ended) if zombie else current) or ended, nth)

    def made(self, wishes: Iterable[Wish]) -> list[tuple[NewJob, bool]]:
        """Return jobs, and whether each is due: of those that replace one another, only one in a batch."""
        made: list[tuple[NewJob, bool]] = []
        known = [*self.groups, *self.model.ever]
        taken: set[tuple[str, str]] = set()
        for wish in wishes:
            group = None if wish.group is None else self.groups[wish.group]
            how, key = wish.how, wish.key
            if key is not None and how is not OnConflict.KEEP:
                if (wish.kind, key) in taken:
                    key = None
                else:
                    taken.add((wish.kind, key))
            now = dt.datetime.now(dt.UTC)
            new = SPECS[wish.kind].new(
                {"n": len(known)},
                unique_key=key,
                on_conflict=how,
                priority=wish.priority,
                scheduled_at={"now": None, "past": now - HOUR, "later": now + HOUR}[wish.when],
                after=[on for on in {known[-1 - back % len(known)] for back in wish.after} if on != group],
                group_id=group,
                tags=() if wish.tag is None else (wish.tag,),
            )
            made.append((new, wish.when != "later"))
            known.append(new.id)
        return made

    # enqueuing

    @rule(wishes=st.lists(WISHES, min_size=1, max_size=5))
    def enqueue(self, wishes: list[Wish]) -> None:
        made = self.made(wishes)
        jobs = [new for new, _ in made]
        if self.model.refuses(jobs):
            with pytest.raises(Conflict) as raised:
                self.call(db_jobs.enqueue, jobs)
            assert raised.value.code == "predecessor_cancelled"
            return
        enqueued = self.call(db_jobs.enqueue, jobs)
        assert enqueued.keys() == self.model.enqueue_all(made)
        later = [
            one for one in enqueued if self.model.jobs[one].state == "scheduled" and not self.model.jobs[one].waits
        ]
        assert not later or self.woken.later
        self.wakes()

    @precondition(lambda self: not self.model.in_state("available"))
    @rule(wishes=st.lists(WISHES, min_size=3, max_size=5))
    def enqueue_when_idle(self, wishes: list[Wish]) -> None:
        self.enqueue(wishes)

    @precondition(lambda self: any(job.unique_key for job in self.model.jobs.values()))
    @rule(nth=NTH, wish=WISHES)
    def enqueue_under_a_key_in_use(self, nth: int, wish: Wish) -> None:
        twin = pick([job for job in self.model.jobs.values() if job.unique_key], nth)
        self.enqueue([replace(wish, kind=twin.kind, key=twin.unique_key)])

    @rule(kinds=st.lists(st.sampled_from("abc"), min_size=3, max_size=4), tag=st.sampled_from([None, *TAGS]))
    def copy(self, kinds: list[str], tag: str | None) -> None:
        tags = () if tag is None else (tag,)
        jobs = [SPECS[kind].new({"n": n}, tags=tags, priority=1 + n % 4) for n, kind in enumerate(kinds)]
        assert list(self.call(db_jobs.enqueue, jobs)) == [job.id for job in jobs]
        for job in jobs:
            self.model.enqueue(job, due=True)
        self.wakes()

    @rule(kind=st.sampled_from("abc"), count=st.integers(0, 2), priority=st.integers(1, 4))
    def copy_many(self, kind: str, count: int, priority: int) -> None:
        spec = SPECS[kind]
        jobs = NewJobs(kind, spec.queue, [{"n": n} for n in range(count)], priority, spec.max_attempts)
        assert self.call(db_jobs.enqueue_many, jobs) == count
        known = list(self.model.jobs)
        rows = self.conn.execute("SELECT id FROM jobs WHERE id <> ALL (%s) ORDER BY seq", (known,)).fetchall()
        assert len(rows) == count
        for row in rows:
            self.model.enqueue(spec.new({}, priority=priority)._replace(id=JobId(row[0])), due=True)
        self.wakes()

    # running

    @precondition(lambda self: len(self.workers) > len(self.rows))
    @rule(nth=NTH)
    def reaped_worker_claims(self, nth: int) -> None:
        gone = [worker for worker in self.workers if worker.id not in self.rows]
        assert db_jobs.claim(self.conn, pick(gone, nth).id, "q", {"a": 2, "b": 2}) is None
        assert db_jobs.claim_suspect(self.conn, pick(gone, nth).id, "q", KINDS["q"]) is None

    @rule(nth=NTH, queue=st.sampled_from("qqr"), counts=COUNTS, full=st.booleans())
    def claim(self, nth: int, queue: str, counts: list[int], full: bool) -> None:
        worker = pick([worker for worker in self.workers if worker.id in self.rows], nth)
        wanted = dict(zip(KINDS[queue], counts, strict=False))
        below = worker.floors.lines
        claimed = db_jobs.claim(self.conn, worker.id, queue, wanted, None if full else below)
        assert claimed is not None
        if self.paused & {queue, queues.ALL}:
            assert claimed == []
            worker.floors = Floors()
            return
        floors = {} if full else below
        expected = list[Job]()
        for kind, count in wanted.items():
            line = floors.get(kind, [0] * db_jobs.PRIORITIES)
            seen = [job for job in self.model.line(queue, kind) if self.seq[job.new.id] >= line[job.priority - 1]]
            expected += seen[:count]
        expected.sort(key=lambda job: (job.priority, job.order))
        assert [job.id for job in claimed] == [job.new.id for job in expected]
        passed = {job.new.id for job in self.model.in_state("available") if self.is_below(floors, job)}
        for got in claimed:
            job = self.model.claim(got.id, worker.id, got.token)
            assert (got.attempt, got.priority, got.queue) == (job.attempt, job.priority, queue)
            assert not got.suspect
            self.claims.append((worker, got))
        trio.run(partial(raise_floors, worker.floors, wanted, claimed, full))
        # what lies below the floors did so before, or came back
        now_below = {job.new.id for job in self.model.in_state("available") if self.is_below(worker.floors.lines, job)}
        assert now_below <= passed

    def is_below(self, floors: dict[str, list[int]], job: Job) -> bool:
        line = floors.get(job.kind)
        return line is not None and not job.suspect and self.seq[job.new.id] < line[job.priority - 1]

    @precondition(lambda self: self.claims)
    @rule(picks=PICKS)
    def complete(self, picks: list[tuple[int, bool]]) -> None:
        """Complete what is held and what was held once, together: a zombie's results are refused."""
        ends = {job.id: job for job in (self.held(*one) for one in picks)}
        ours = [job for job in (self.model.current(end.id, end.token) for end in ends.values()) if job is not None]
        assert self.call(db_jobs.hold, list(ends.values())) == {job.new.id for job in ours}
        done = self.call(
            db_jobs.complete, [db_jobs.Completion(end.id, end.token, {"n": 1}, 1.0) for end in ends.values()]
        )
        assert done == {job.new.id for job in ours}
        assert not done & self.finished
        self.finished |= done
        self.model.complete(ours)
        self.comes_back()

    @precondition(lambda self: self.model.in_state("available"))
    @rule(nth=NTH, counts=COUNTS, picks=PICKS)
    def work(self, nth: int, counts: list[int], picks: list[tuple[int, bool]]) -> None:
        """Go on with everything: claim, and complete some of what is held."""
        for queue in KINDS:
            self.claim(nth, queue, counts, full=False)
        if self.claims:
            self.complete(picks)

    @precondition(lambda self: self.claims)
    @rule(
        nth=NTH,
        zombie=st.sampled_from([False, False, True]),
        how=st.sampled_from(["retry", "retry", "discard", "put_off"]),
    )
    def fail(self, nth: int, zombie: bool, how: str) -> None:
        self.end(self.held(nth, zombie), how)

    @precondition(lambda self: any(job.unique_key for job in self.model.in_state("running")))
    @rule(nth=NTH, wish=WISHES, how=st.sampled_from(["retry", "put_off"]))
    def replace_what_failed(self, nth: int, wish: Wish, how: str) -> None:
        """One under a unique key fails, and another comes in its place before it is tried again."""
        twin = pick([job for job in self.model.in_state("running") if job.unique_key], nth)
        self.end(next(job for _, job in self.claims if job.token == twin.token), how)
        self.enqueue([replace(wish, kind=twin.kind, key=twin.unique_key)])

    def end(self, job: ClaimedJob, how: str) -> None:
        ours = self.model.current(job.id, job.token)
        failed = FailedAttempt("odd", "it failed", "Odd", job.attempt, dt.datetime.now(dt.UTC))
        if how == "put_off":
            written = self.call(db_jobs.put_off, job.id, job.token, failed, 3600.0)
        else:
            written = self.call(db_jobs.fail, job.id, job.token, failed, 3600.0 if how == "retry" else None)
        assert written == (ours is not None)
        if ours is not None:
            self.model.fail(ours, "odd", again=how != "discard", counts=how != "put_off")

    @precondition(lambda self: self.claims)
    @rule(picks=PICKS)
    def release(self, picks: list[tuple[int, bool]]) -> None:
        held = {job.id: job for job in (self.held(*one) for one in picks)}
        self.call(db_jobs.release, list(held.values()))
        for job in held.values():
            ours = self.model.current(job.id, job.token)
            if ours is not None:
                self.model.give_back(ours)
        self.comes_back()

    @precondition(lambda self: any(job.suspect for job in self.model.jobs.values()))
    @rule(nth=NTH, queue=st.sampled_from(["q", "r"]))
    def claim_suspect(self, nth: int, queue: str) -> None:
        """Claim one that was held by a worker that was lost: they stand in a line of their own."""
        worker = pick([worker for worker in self.workers if worker.id in self.rows], nth)
        claimed = self.call(db_jobs.claim_suspect, worker.id, queue, KINDS[queue])
        assert claimed is not None
        line = self.model.line(queue, *KINDS[queue], suspects=True)
        assert [job.id for job in claimed] == (
            [] if self.paused & {queue, queues.ALL} else [job.new.id for job in line[:1]]
        )
        for got in claimed:
            job = self.model.claim(got.id, worker.id, got.token)
            assert got.suspect
            assert (got.attempt, got.priority, got.queue) == (job.attempt, job.priority, queue)
            self.claims.append((worker, got))

    @precondition(lambda self: any(not job.due for job in self.model.in_state("scheduled", "retryable")))
    @rule(nths=st.lists(NTH, min_size=1, max_size=6))
    def time_passes(self, nths: list[int]) -> None:
        waiting = [job for job in self.model.in_state("scheduled", "retryable") if not job.due]
        chosen = {job.new.id: job for job in (pick(waiting, nth) for nth in nths)}
        self.conn.execute("UPDATE jobs SET scheduled_at = now() - interval '1 s' WHERE id = ANY (%s)", (list(chosen),))
        for job in chosen.values():
            job.due = True

    @precondition(lambda self: self.model.in_state("scheduled", "retryable"))
    @rule()
    def promote(self) -> None:
        due_s = self.call(db_jobs.promote)
        self.model.promote()
        assert due_s is None or due_s > 0
        self.comes_back()

    def comes_back(self) -> None:
        """Check that lanes are told to look below their floors for what is available again."""
        fresh = {job.new.queue for job in self.model.in_state("available") if job.new.id not in self.before}
        assert fresh <= self.woken.again

    # workers

    @precondition(lambda self: self.model.in_state("running"))
    @rule(nth=NTH)
    def worker_dies(self, nth: int) -> None:
        """One that holds jobs dies; another one comes."""
        held = {job.worker for job in self.model.in_state("running")}
        worker = pick([worker for worker in self.workers if worker.id in held], nth)
        if worker.alive:
            worker.alive = False
            self.locks.execute("SELECT pg_advisory_unlock(%s)", (worker.lock_key,))
            self.join()

    @precondition(lambda self: self.model.in_state("running"))
    @rule(nth=NTH)
    def beat(self, nth: int) -> None:
        worker = pick(self.workers, nth)
        held = self.call(workers.beat, worker.id, LEASE_S)
        tokens = {job.token for job in self.model.held(worker.id)}
        assert held == (frozenset(tokens) if worker.id in self.rows else None)

    @rule(nth=NTH, stuck=st.booleans(), beats=st.booleans())
    def reap(self, nth: int, stuck: bool, beats: bool) -> None:
        """Reap the dead, and one that was watched for too long, unless it beats at the last moment."""
        me = pick([worker for worker in self.workers if worker.id in self.rows], nth)
        others = [worker for worker in self.workers if worker is not me]
        other = pick([worker for worker in others if self.model.held(worker.id)] or others, nth)
        seen = {row.id: row for row in workers.look(self.conn, me.id, []).others}
        for worker in self.workers:
            if worker is not me and worker.id in self.rows:
                assert seen[worker.id].dead == (not worker.alive)
                assert seen[worker.id].holds == bool(self.model.held(worker.id))
        watched = [row for row in seen.values() if row.dead or (stuck and row.id == other.id)]
        if beats:
            self.call(workers.beat, other.id, LEASE_S)
            watched_still = {row.id for row in watched} - {other.id}
        else:
            watched_still = {row.id for row in watched}
        gone = {one for one in watched_still if seen[one].dead or seen[one].holds}
        assert self.call(workers.reap_workers, me.id, watched) == len(gone)
        for job in (job for one in gone if not seen[one].dead for job in self.model.held(one)):
            job.started = False
        self.rows -= gone
        if len(self.rows) < 2:
            self.join()

    @precondition(lambda self: self.model.in_state("running"))
    @rule(nth=NTH, stuck=st.lists(st.booleans(), min_size=1, max_size=3), count=st.integers(0, 4))
    def workers_are_lost(self, nth: int, stuck: list[bool], count: int) -> None:
        """What otherwise takes many steps: one dies or is stuck, its jobs are rescued and claimed again, and so on."""
        for is_stuck in stuck:
            if not self.model.in_state("running"):
                return
            if not is_stuck:
                self.worker_dies(nth)
            self.reap(nth, is_stuck, beats=False)
            self.rescue()
            if any(not job.due for job in self.model.in_state("scheduled", "retryable")):
                self.time_passes([nth, nth + 1])
                self.promote()
            for _ in range(count):
                self.claim_suspect(nth, "q")

    @precondition(lambda self: any(job.worker not in self.rows for job in self.model.in_state("running")))
    @rule()
    def rescue(self) -> None:
        rescued = self.call(workers.rescue)
        back, poison = self.model.rescue(self.rows)
        assert {one.job.id for one in rescued if not one.poison} == {job.new.id for job in back}
        assert {one.job.id for one in rescued if one.poison} == {job.new.id for job in poison}
        waiting = [job.new.id for job in back if job.state == "retryable"]
        self.conn.execute("UPDATE jobs SET scheduled_at = now() + interval '1 h' WHERE id = ANY (%s)", (waiting,))
        self.comes_back()

    @precondition(lambda self: self.model.in_state("running"))
    @rule(nth=NTH, forgets=st.lists(NTH, max_size=3))
    def release_strays(self, nth: int, forgets: list[int]) -> None:
        worker = pick(self.workers, nth)
        held = self.model.held(worker.id)
        forgotten = {job.new.id: job for job in (pick(held, nth) for nth in forgets if held)}
        tokens = [job.token for job in forgotten.values()]
        assert self.call(workers.release_strays, worker.id, tokens) == len(forgotten)
        for job in forgotten.values():
            self.model.give_back(job)
        self.comes_back()

    # people

    @precondition(lambda self: not self.paused)
    @rule(names=st.lists(st.sampled_from(["q", "r", queues.ALL]), min_size=1, max_size=2))
    def pause(self, names: list[str]) -> None:
        for name in names:
            self.call(queues.pause, name)
        self.paused.update(names)

    @precondition(lambda self: self.paused)
    @rule(name=st.sampled_from(["q", "r", queues.ALL]), everything=st.booleans())
    def resume(self, name: str, everything: bool) -> None:
        for one in sorted(self.paused) if everything else [name]:
            assert self.call(queues.resume, one) == (one in self.paused)
            self.paused.discard(one)

    @precondition(lambda self: self.model.jobs)
    @rule(drawn=FILTERS)
    def cancel(self, drawn: JobFilter | list[int]) -> None:
        wanted = self.ids(drawn)
        found = self.call(job_admin.find, wanted, TABLED)
        assert found == self.model.named(wanted, TABLED)
        assert self.call(job_admin.matching, wanted, TABLED) == len(found)
        cancelled = self.call(job_admin.cancel, found)
        count, tokens = self.model.cancel(found)
        assert (cancelled.count, set(cancelled.tokens)) == (count, tokens)
        self.comes_back()

    @precondition(lambda self: self.model.jobs)
    @rule(nth=NTH)
    def cancel_and_retry(self, nth: int) -> None:
        """Cancel one, and take it back with all that went with it."""
        before = set(self.model.jobs)
        self.cancel(JobFilter(ids=(pick(list(self.model.jobs), nth),)))
        self.retry(JobFilter(ids=tuple(before - self.model.jobs.keys())))

    @precondition(lambda self: self.model.in_state("available", "scheduled", "retryable"))
    @rule(drawn=FILTERS, nths=st.none() | st.lists(NTH, min_size=1, max_size=3))
    def discard(self, drawn: JobFilter | list[int], nths: list[int] | None) -> None:
        wanted = self.ids(drawn)
        waiting = [job.new.id for job in self.model.jobs.values() if job.waits]
        if nths is not None and waiting:
            wanted = JobFilter(ids=tuple({pick(waiting, nth) for nth in nths}))
        found = self.call(job_admin.find, wanted, WAITING)
        assert found == self.model.named(wanted, WAITING)
        given_up = self.call(job_admin.discard, found, "given_up", "nobody wants it")
        assert {job.id for job in given_up} == set(self.model.discard(found, "given_up"))

    @precondition(lambda self: self.model.history or self.model.in_state("retryable", "discarded"))
    @rule(drawn=FILTERS)
    def retry(self, drawn: JobFilter | list[int]) -> None:
        wanted = self.ids(drawn)
        found = self.call(job_admin.find, wanted, FAILED)
        assert found == self.model.named(wanted, FAILED)
        if wanted.state is None:
            cancelled = self.call(job_admin.find_cancelled, wanted)
            assert cancelled == self.model.named_cancelled(wanted)
            found += cancelled
        again = self.call(job_admin.retry, found)
        assert len(again) == len(set(again))
        assert set(again) == self.model.retry(found)
        self.comes_back()

    # what always holds

    @invariant()
    def table_is_as_modelled(self) -> None:
        with self.conn.cursor(row_factory=dict_row) as cursor:
            rows = cursor.execute(ROWS).fetchall()
        self.seq = {JobId(row["id"]): int(row["seq"]) for row in rows}
        expected = sorted(self.model.jobs.values(), key=lambda job: job.order)
        assert [told(row) for row in rows] == [modelled(job) for job in expected]
        keys = [(row["kind"], row["unique_key"]) for row in rows if row["unique_key"] and row["state"] != "discarded"]
        assert len(keys) == len(set(keys))

    @invariant()
    def history_is_as_modelled(self) -> None:
        found = {row[0]: row[1:] for row in self.conn.execute(HISTORY)}
        assert found == {
            one: (job.state, job.kind, job.unique_key, job.new.group_id, list(job.tags), job.attempt, job.codes)
            for one, job in self.model.history.items()
        }
        assert sorted([*self.model.jobs, *self.model.history]) == sorted(self.model.ever)

    @invariant()
    def nothing_outlives_its_use(self) -> None:
        waits = {(row[0], row[1]) for row in self.conn.execute("SELECT on_id, job_id FROM job_waits")}
        assert waits == {(on, one) for one, job in self.model.jobs.items() for on in job.waits}
        groups = {row[0]: row[1] for row in self.conn.execute("SELECT id, open FROM job_groups")}
        assert groups == dict(self.model.groups)
        named = {row[0] for row in self.conn.execute("SELECT id FROM workers")}
        assert named == self.rows


def told(row: dict[str, Any]) -> dict[str, object]:
    same = ("id", "kind", "state", "priority", "attempt", "unique_key", "group_id", "deaths", "token")
    assert row["waits"] == row["waits_for"]
    return {
        **{name: row[name] for name in same},
        "due": row["due"],
        "waits": row["waits"],
        "worker": row["worker_id"],
        # of one that does not run it says nothing
        "started": row["started"] and row["state"] == "running",
        "suspect": row["suspect"],
        "tags": tuple(row["tags"]),
        "codes": row["codes"],
    }


def modelled(job: Job) -> dict[str, object]:
    return {
        "id": job.new.id,
        "kind": job.kind,
        "state": job.state,
        "priority": job.priority,
        "attempt": job.attempt,
        "unique_key": job.unique_key,
        "group_id": job.new.group_id,
        "deaths": job.deaths,
        "token": job.token,
        "started": job.started,
        "suspect": job.suspect,
        "due": job.due,
        "waits": len(job.waits),
        "worker": job.worker,
        "tags": job.tags,
        "codes": job.codes,
    }


async def raise_floors(floors: Floors, wanted: dict[str, int], claimed: list[ClaimedJob], full: bool) -> None:
    floors.claimed(wanted, claimed, full=full, cost_s=0.001)


def test_any_history_is_as_the_model_says(conninfo: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(db_jobs, "COPY_MIN", 3)
    options = "-c synchronous_commit=off"
    with (
        psycopg.connect(conninfo, autocommit=True, options=options) as conn,
        psycopg.connect(conninfo, autocommit=True, options=options) as locks,
    ):

        class Connected(Machine):
            def __init__(self) -> None:
                super().__init__(conn, locks)

        run_state_machine_as_test(
            Connected,
            settings=settings(
                max_examples=EXAMPLES or 130,
                stateful_step_count=100,
                derandomize=not EXAMPLES,
                deadline=None,
                suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
                print_blob=True,
                report_multiple_bugs=False,
            ),
        )
