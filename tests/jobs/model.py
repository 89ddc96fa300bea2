"""The job table as it ought to be: each verb in plain Python, on dictionaries. See test_machine.py."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from lumiliod.domain.ids import JobId
from lumiliod.domain.jobs import DEATHS_MAX, JobFilter, JobState, NewJob, OnConflict

OPEN = frozenset({"available", "scheduled", "running", "retryable"})


@dataclass
class Job:
    """A row of the table, or of the history; ``due`` stands for its time, ``order`` for its sequence number."""

    new: NewJob
    order: int
    state: str
    due: bool
    waits: set[UUID]
    priority: int
    unique_key: str | None
    tags: tuple[str, ...]
    attempt: int = 0
    deaths: int = 0
    token: int | None = None
    worker: UUID | None = None
    started: bool = False
    suspect: bool = False
    waited: set[UUID] = field(default_factory=set[UUID])
    """Of a cancelled one: what it waited for."""
    codes: list[str] = field(default_factory=list[str])

    @property
    def kind(self) -> str:
        return self.new.kind

    @property
    def key(self) -> tuple[str, str]:
        return self.kind, self.unique_key if self.unique_key is not None else str(self.new.id)


@dataclass
class Model:
    """Everything that was ever enqueued, and how many jobs of each group have not ended."""

    jobs: dict[JobId, Job] = field(default_factory=dict[JobId, Job])
    history: dict[JobId, Job] = field(default_factory=dict[JobId, Job])
    groups: Counter[UUID] = field(default_factory=Counter[UUID])
    ever: list[JobId] = field(default_factory=list[JobId])
    order: int = 0

    # what is there

    def in_state(self, *states: str) -> list[Job]:
        return [job for job in self.jobs.values() if job.state in states]

    def line(self, queue: str, *kinds: str, suspects: bool = False) -> list[Job]:
        """Return the available jobs of a queue and kinds in the order in which they are to be claimed."""
        found = [job for job in self.in_state("available") if job.new.queue == queue and job.kind in kinds]
        return sorted((job for job in found if job.suspect == suspects), key=lambda job: (job.priority, job.order))

    def held(self, worker: UUID) -> list[Job]:
        return [job for job in self.jobs.values() if job.worker == worker]

    def twin(self, kind: str, unique_key: str | None) -> Job | None:
        """Return the open job under a unique key."""
        same = [job for job in self.jobs.values() if (job.kind, job.unique_key) == (kind, unique_key)]
        return next((job for job in same if unique_key is not None and job.state in OPEN), None)

    def named(self, wanted: JobFilter, states: Collection[str]) -> list[JobId]:
        """Return the jobs of the table that a filter names, by id."""
        return sorted(
            job.new.id
            for job in self.in_state(*states)
            if (wanted.state is None or job.state == wanted.state) and _fits(job, wanted)
        )

    def named_cancelled(self, wanted: JobFilter) -> list[JobId]:
        cancelled = [job for job in self.history.values() if job.state == JobState.CANCELLED]
        return sorted(job.new.id for job in cancelled if _fits(job, wanted))

    # enqueuing

    def refuses(self, jobs: Sequence[NewJob]) -> bool:
        """Tell whether one of ``jobs`` comes after one that was cancelled."""
        ids = {on for job in jobs for on in job.after}
        return any(job.state == JobState.CANCELLED for one, job in self.history.items() if one in ids)

    def enqueue_all(self, jobs: Sequence[tuple[NewJob, bool]]) -> set[JobId]:
        """Enqueue jobs, each due or not; what comes after one that is left out comes after the one in its place."""
        done = set[JobId]()
        standing = dict[UUID, NewJob | None]()
        twins = dict[UUID, UUID]()
        for new, due in jobs:
            if standing.keys() & set(new.after):
                for other in standing.values():
                    twin = None if other is None or other.id in done else self.twin(other.kind, other.unique_key)
                    if twin is not None and other is not None:
                        twins[other.id] = twin.new.id
                standing.clear()
            placed = self.enqueue(new._replace(after=tuple(twins.get(on, on) for on in new.after)), due=due)
            done |= set() if placed is None else {placed}
            standing[new.id] = new
            if new.group_id is not None:
                standing[new.group_id] = None
        return done

    def enqueue(self, new: NewJob, *, due: bool) -> JobId | None:
        """Enqueue one job; return the id of the one that is now to be done, None when an open one is kept."""
        twin = self.twin(new.kind, new.unique_key)
        if twin is not None and new.on_conflict is OnConflict.KEEP:
            return None
        if twin is not None and twin.state == "running":
            twin.unique_key = None
        elif twin is not None:
            twin.due = due
            twin.state = _waiting(twin)
            if new.on_conflict is OnConflict.REPLACE:
                twin.priority, twin.tags, twin.attempt = new.priority, new.tags, 0
            return twin.new.id
        self._insert(new, due=due, waits={on for on in new.after if on in self.jobs or on in self.groups})
        return new.id

    def _insert(self, new: NewJob, *, due: bool, waits: set[UUID]) -> Job:
        self.order += 1
        job = Job(new, self.order, "", due, waits, new.priority, new.unique_key, new.tags)
        job.state = _waiting(job)
        self.jobs[new.id] = job
        if new.id not in self.ever:
            self.ever.append(new.id)
        if new.group_id is not None:
            self.groups[new.group_id] += 1
        return job

    # running

    def claim(self, job_id: JobId, worker: UUID, token: int) -> Job:
        job = self.jobs[job_id]
        job.state, job.worker, job.token, job.started = "running", worker, token, job.suspect
        job.attempt += 1
        return job

    def current(self, job_id: JobId, token: int) -> Job | None:
        """Return the job if ``token`` is the right of the attempt that runs."""
        job = self.jobs.get(job_id)
        return job if job is not None and job.token == token else None

    def complete(self, jobs: Iterable[Job]) -> None:
        ended = list[UUID]()
        for job in jobs:
            ended += [job.new.id, *self._move(job, "completed")]
        self._release(ended)

    def fail(self, job: Job, code: str, *, again: bool, counts: bool = True) -> None:
        _stop(job, "retryable" if again else "discarded")
        job.codes.append(code)
        job.due = job.due and not again
        job.suspect = job.suspect and not counts
        job.attempt -= 0 if counts else 1

    def give_back(self, job: Job) -> None:
        _stop(job, "available")
        job.attempt -= 1

    def promote(self) -> list[Job]:
        found = [job for job in self.in_state("scheduled", "retryable") if job.due and not job.waits]
        for job in found:
            job.state = "available"
        return found

    def rescue(self, workers: Collection[UUID]) -> tuple[list[Job], list[Job]]:
        """Take jobs from workers that are none of ``workers``; return those given back and those given up."""
        back, poison = list[Job](), list[Job]()
        for job in self.in_state("running"):
            if job.worker in workers:
                continue
            job.suspect = True
            if not job.started:
                _stop(job, "available")
                job.codes.append("worker_lost")
                job.attempt -= 1
                back.append(job)
                continue
            job.deaths += 1
            if job.deaths < DEATHS_MAX:
                _stop(job, "retryable")
                job.codes.append("worker_lost")
                job.attempt -= 1
                job.due = False
                back.append(job)
            else:
                _stop(job, "discarded")
                job.codes.append("poison")
                poison.append(job)
        return back, poison

    # people

    def cancel(self, ids: Iterable[UUID]) -> tuple[int, set[int]]:
        """Cancel jobs and all that wait for them; return how many, and the tokens of those that ran."""
        count, tokens = 0, set[int]()
        wave, dependent = list(ids), False
        while wave:
            gone = [job for one, job in list(self.jobs.items()) if one in wave]
            count += len(gone)
            tokens |= {job.token for job in gone if job.token is not None}
            ended = list[UUID]()
            for job in gone:
                job.codes += ["predecessor_cancelled"] if dependent else []
                ended += self._move(job, "cancelled")
            self._release(ended)
            lost = {job.new.id for job in gone}
            wave = [one for one, job in self.jobs.items() if job.waits & lost]
            dependent = True
        return count, tokens

    def discard(self, ids: Iterable[UUID], code: str) -> list[JobId]:
        found = [job for job in self.in_state("available", "scheduled", "retryable") if job.new.id in ids]
        for job in found:
            job.state = "discarded"
            job.codes.append(code)
        return [job.new.id for job in found]

    def retry(self, ids: Collection[UUID]) -> set[JobId]:
        """Let jobs begin anew: of each unique key one, the open one before the newest of the others."""
        done = set[JobId]()
        failed = self.in_state("retryable", "discarded")
        failed += [job for job in self.in_state("scheduled") if not job.waits]
        for job in _newest(job for job in failed if job.new.id in ids):
            twin = self.twin(job.kind, job.unique_key)
            if twin is None or twin is job:
                job.attempt, job.deaths, job.due, job.suspect = 0, 0, True, False
                job.state = _waiting(job)
                done.add(job.new.id)
        cancelled = [self.history[one] for one in self.history if one in ids]
        free = [job for job in cancelled if job.state == "cancelled" and not self.twin(job.kind, job.unique_key)]
        revived = list[Job]()
        for old in sorted(_newest(free), key=lambda job: job.new.id):
            del self.history[old.new.id]
            job = self._insert(old.new, due=True, waits=old.waited)
            job.priority, job.unique_key, job.tags, job.codes = old.priority, old.unique_key, old.tags, old.codes
            revived.append(job)
        for job in revived:
            # as far as that has not ended, and with what came back beside it
            job.waits = {on for on in job.waits if on in self.jobs or on in self.groups}
            job.state = _waiting(job)
        return done | {job.new.id for job in revived}

    # ends

    def _move(self, job: Job, state: str) -> list[UUID]:
        """Move a job to the history; return its group when that has ended with it."""
        del self.jobs[job.new.id]
        _stop(job, state)
        job.waits, job.waited = set(), job.waits
        self.history[job.new.id] = job
        group = job.new.group_id
        if group is None:
            return []
        self.groups[group] -= 1
        if self.groups[group]:
            return []
        del self.groups[group]
        return [group]

    def _release(self, ended: Collection[UUID]) -> None:
        for job in self.jobs.values():
            if job.waits.intersection(ended):
                job.waits.difference_update(ended)
                job.state = job.state if job.state == "discarded" else _waiting(job)


def _waiting(job: Job) -> str:
    return "available" if job.due and not job.waits else "scheduled"


def _stop(job: Job, state: str) -> None:
    job.state, job.worker, job.token, job.started = state, None, None, False


def _newest(jobs: Iterable[Job]) -> list[Job]:
    """Return of each unique key one job: the one that is open, or else the newest."""
    found: dict[tuple[str, str], Job] = {}
    for job in sorted(jobs, key=lambda job: (job.state != "discarded", job.new.id)):
        found[job.key] = job
    return list(found.values())


def _fits(job: Job, wanted: JobFilter) -> bool:
    given: Mapping[str, bool] = {
        "ids": wanted.ids is None or job.new.id in wanted.ids,
        "kind": wanted.kind in (None, job.kind),
        "queue": wanted.queue in (None, job.new.queue),
        "tag": wanted.tag is None or wanted.tag in job.tags,
    }
    return all(given.values())
