"""What a lane has claimed and not begun, and how much it had better claim next."""

import math
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import trio

from lumiliod.db.jobs import PRIORITIES
from lumiliod.domain.jobs import ClaimedJob

AHEAD_S = 0.15
"""A lane holds what it finishes in so long: enough that no slot waits, little enough for others and for a pause."""

AHEAD_MAX = 500
"""Units held in advance at most."""

PACE_PERIOD_S = 0.1
PACE_MEMORY_S = 0.2
"""How often the pace is taken, and how long it is remembered."""


Together = Callable[[Mapping[str, Any]], bool]
"""Tells by a job's arguments whether it runs together with others of its kind."""


class Buffer:
    """Claimed jobs that wait for a slot, by kind; counted in units, as slots are; a suspect is not counted.

    Args:
        batches: how many jobs of a kind run together at most.
        together: of a kind, which of its jobs do; all where it says nothing.
    """

    def __init__(self, batches: Mapping[str, int], together: Mapping[str, Together] | None = None) -> None:
        self._batches = batches
        self._together = together or {}
        self._alone: set[str] = set()
        self._jobs: dict[str, deque[ClaimedJob]] = {}
        self._suspects: deque[ClaimedJob] = deque()
        self._turns: Counter[str] = Counter()
        self._turn = 0

    @property
    def batches(self) -> Mapping[str, int]:
        """Return how many jobs of each kind are to be claimed for a unit: one of those that came last by themselves."""
        return {kind: 1 if kind in self._alone else batch for kind, batch in self._batches.items()}

    @property
    def units(self) -> int:
        """Return how many units the buffered jobs make."""
        return sum(self.units_by_kind().values())

    def units_by_kind(self) -> dict[str, int]:
        """Return how many units of each kind are buffered."""
        return {kind: self._units(kind, jobs) for kind, jobs in self._jobs.items()}

    def _units(self, kind: str, jobs: Collection[ClaimedJob]) -> int:
        is_together = self._together.get(kind)
        count = len(jobs) if is_together is None else sum(is_together(job.args) for job in jobs)
        return len(jobs) - count - (-count // self._batches[kind])

    def add(self, jobs: Sequence[ClaimedJob]) -> None:
        """Put jobs in their kind's line: the most urgent first, then the oldest."""
        self._suspects.extend(job for job in jobs if job.suspect)
        for kind in {job.kind for job in jobs if not job.suspect}:
            new = [job for job in jobs if job.kind == kind and not job.suspect]
            is_together = self._together.get(kind)
            if is_together is not None:
                (self._alone.discard if all(is_together(job.args) for job in new) else self._alone.add)(kind)
            line = self._jobs.get(kind)
            if line and _order(line[-1]) > _order(new[0]):
                self._jobs[kind] = deque(sorted([*line, *new], key=_order))
            else:
                self._jobs.setdefault(kind, deque()).extend(new)

    def next_unit(self, active: Mapping[str, int], free: int = 1) -> list[ClaimedJob]:
        """Take a unit of the most urgent kind; among equals the one that has the fewest slots, then that waited most.

        So a kind that fills batches does not keep another from its share of the slots. Where several slots are
        ``free``, they share what waits. A suspect goes first. Empty when there is nothing to take.
        """
        if self._suspects:
            return [self._suspects.popleft()]
        waiting = [kind for kind, jobs in self._jobs.items() if jobs]
        if not waiting:
            return []
        kind = waiting[0] if len(waiting) == 1 else min(waiting, key=lambda kind: self._rank(kind, active))
        self._turn += 1
        self._turns[kind] = self._turn
        line, is_together = self._jobs[kind], self._together.get(kind)
        unit = [line.popleft()]
        if is_together is not None and not is_together(unit[0].args):
            return unit
        count = min(-(-(1 + len(line)) // max(free, 1)), self._batches[kind])
        while line and len(unit) < count and (is_together is None or is_together(line[0].args)):
            unit.append(line.popleft())
        return unit

    def _rank(self, kind: str, active: Mapping[str, int]) -> tuple[int, int, int, int]:
        first = self._jobs[kind][0]
        return first.priority, active.get(kind, 0), self._turns[kind], first.seq

    def drop(self, tokens: Iterable[int]) -> list[ClaimedJob]:
        """Take the jobs with these tokens out."""
        gone = frozenset(tokens)
        dropped = []
        for line in (*self._jobs.values(), self._suspects):
            found = [job for job in line if job.token in gone]
            for job in found:
                line.remove(job)
            dropped += found
        return dropped

    def drain(self) -> list[ClaimedJob]:
        """Take everything."""
        jobs = [job for line in (*self._jobs.values(), self._suspects) for job in line]
        self._jobs.clear()
        self._suspects.clear()
        return jobs


class Pace:
    """How many units a lane finishes, and so how many it should hold in advance."""

    def __init__(self) -> None:
        self._per_s = 0.0
        self._finished = 0
        self._since_s = trio.current_time()

    def finished(self) -> None:
        """Count a unit."""
        self._finished += 1

    def ahead(self) -> int:
        """Return how many units to hold in advance: at least one."""
        now = trio.current_time()
        passed_s = now - self._since_s
        if passed_s >= PACE_PERIOD_S:
            weight = 1 - math.exp(-passed_s / PACE_MEMORY_S)
            self._per_s += weight * (self._finished / passed_s - self._per_s)
            self._finished, self._since_s = 0, now
        return min(1 + int(self._per_s * AHEAD_S), AHEAD_MAX)


FULL_SHARE = 0.02
"""The share of a lane's time that reading everything may take, instead of going on above the floors."""

FULL_MAX_S = 10.0


class Floors:
    """From where on each line of a queue (kind and priority) is worth reading.

    What was claimed lies below, dead but still in the index while an old snapshot is held, and is
    expensive to walk over again. Jobs can come to lie below a floor (given back, promoted, committed
    late), so now and then everything is read: as often as its cost allows, at least every ten seconds.
    """

    def __init__(self) -> None:
        self.lines: dict[str, list[int]] = {}
        """By kind, for each priority, the lowest ``seq`` worth reading."""
        self._top = 0
        self._full_cost_s = 0.0
        self._full_at_s = -math.inf

    @property
    def full_due_s(self) -> float:
        """Return when everything may be read again, on trio's clock."""
        return self._full_at_s + min(self._full_cost_s / FULL_SHARE, FULL_MAX_S)

    def is_full_due(self, wanted: bool) -> bool:
        """Tell whether a claim now should pass nothing over: it is ``wanted`` and affordable, or long ago."""
        now = trio.current_time()
        return now >= self._full_at_s + FULL_MAX_S or (wanted and now >= self.full_due_s)

    def claimed(self, wanted: Mapping[str, int], jobs: Sequence[ClaimedJob], *, full: bool, cost_s: float) -> None:
        """Raise the floors after a claim of ``wanted`` that returned ``jobs``; ``full``: nothing was passed over."""
        if full:
            self.lines = {}
            self._full_cost_s = cost_s
            self._full_at_s = trio.current_time()
        self._top = max([self._top, *(job.seq for job in jobs)])
        for kind, count in wanted.items():
            floors = self.lines.setdefault(kind, [0] * PRIORITIES)
            found = [job for job in jobs if job.kind == kind]
            # lines are read in order of urgency: those before the last one that gave something are empty
            read = max((job.priority for job in found), default=1) if len(found) >= count else PRIORITIES + 1
            for priority in range(1, PRIORITIES + 1):
                if priority < read:
                    floors[priority - 1] = self._top + 1
                elif priority == read:
                    floors[priority - 1] = max(job.seq for job in found if job.priority == priority) + 1


def shares(
    buffered: Mapping[str, int], batches: Mapping[str, int], free: int, limit: int, hot: Iterable[str]
) -> dict[str, int]:
    """Return how many jobs of each kind to claim to fill ``free`` of ``limit`` units.

    Kinds that had work at the last look (``hot``) share evenly; of the others one unit each is asked for. A
    kind of which nothing is buffered is always asked for, even beyond ``free``: left out are only kinds that
    have work here.
    """
    lively = set(hot) or set(batches)
    each = -(-limit // len(lively))
    wanted: dict[str, int] = {}
    for kind in sorted(batches, key=lambda kind: (kind not in lively, buffered.get(kind, 0))):
        units = min(each - buffered.get(kind, 0) if kind in lively else 1, free)
        if units <= 0 and not buffered.get(kind):
            units = 1
        if units > 0:
            free -= units
            wanted[kind] = units * batches[kind]
    return wanted


def _order(job: ClaimedJob) -> tuple[int, int]:
    return job.priority, job.seq
