"""Which jobs ended lately, for whoever listens: gathered in memory, within bounds, and not at all while nobody does."""

import math
import time
from collections import Counter
from dataclasses import dataclass, field
from uuid import UUID

import trio

from lumiliod.domain.jobs import ClaimedJob
from lumiliod.jobs.ends import Result

ASSETS_MAX = 100
"""Assets that are named between two looks; as many fit into one notification (8000 bytes) with their kinds."""

KINDS_MAX = 60
"""Kinds that are told apart between two looks."""


@dataclass(slots=True)
class Gathered:
    """Ends since the last look: how many by kind, and the assets they were about, each with its last job's kind.

    ``is_whole`` is whether all are named.
    """

    completed: Counter[str] = field(default_factory=Counter[str])
    discarded: Counter[str] = field(default_factory=Counter[str])
    assets: dict[UUID, str] = field(default_factory=dict[UUID, str])
    is_whole: bool = True

    def __bool__(self) -> bool:
        """Tell whether anything ended."""
        return bool(self.completed or self.discarded or self.assets or not self.is_whole)

    def count(self, counts: Counter[str], kind: str, number: int) -> None:
        """Add to a count, unless there are too many kinds."""
        if kind in counts or len(counts) < KINDS_MAX:
            counts[kind] += number

    def name(self, asset_id: UUID, kind: str) -> None:
        """Note an asset."""
        if asset_id in self.assets or len(self.assets) < ASSETS_MAX:
            self.assets[asset_id] = kind
        else:
            self.is_whole = False


class Endings:
    """What ended in this process, and in others where these were asked to tell.

    This process listens while it is told so (:meth:`listen`), others tell while they hear that somebody does
    (:meth:`tell`); both end by themselves.
    """

    def __init__(self) -> None:
        self._gathered = Gathered()
        self._listens_until = -math.inf
        self._tells_until = -math.inf
        self.asked = trio.Event()
        """Set, and replaced, when another process wants to be told."""

    @property
    def listens(self) -> bool:
        """Tell whether somebody in this process wants to know."""
        return time.monotonic() < self._listens_until

    @property
    def tells(self) -> bool:
        """Tell whether another process wants to know, and none here."""
        return time.monotonic() < self._tells_until and not self.listens

    def listen(self, for_s: float) -> None:
        """Gather for so many seconds more."""
        self._listens_until = time.monotonic() + for_s

    def tell(self, for_s: float) -> None:
        """Gather for another process for so many seconds more."""
        self._tells_until = time.monotonic() + for_s
        self.asked.set()
        self.asked = trio.Event()

    def completed(self, job: ClaimedJob, result: Result | None) -> None:
        """Note a job that is completed; what it was about says its row, or else its result."""
        if self.listens or self.tells:
            self._gathered.count(self._gathered.completed, job.kind, 1)
            self._name(job, result)

    def discarded(self, job: ClaimedJob) -> None:
        """Note a job that was discarded."""
        if self.listens or self.tells:
            self._gathered.count(self._gathered.discarded, job.kind, 1)
            self._name(job, None)

    def add(self, told: Gathered) -> None:
        """Note what another process told, if somebody here wants to know."""
        if self.listens:
            for kind, count in told.completed.items():
                self._gathered.count(self._gathered.completed, kind, count)
            for kind, count in told.discarded.items():
                self._gathered.count(self._gathered.discarded, kind, count)
            for asset_id, kind in told.assets.items():
                self._gathered.name(asset_id, kind)
            self._gathered.is_whole = self._gathered.is_whole and told.is_whole

    def take(self) -> Gathered:
        """Return what has ended since the last call."""
        gathered, self._gathered = self._gathered, Gathered()
        return gathered

    def _name(self, job: ClaimedJob, result: Result | None) -> None:
        asset_id = job.asset_id
        if asset_id is None and result is not None and isinstance(told := result.get("asset_id"), str):
            try:
                asset_id = UUID(told)
            except ValueError:
                return
        if asset_id is not None:
            self._gathered.name(asset_id, job.kind)
