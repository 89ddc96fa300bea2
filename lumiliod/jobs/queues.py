"""How many jobs of a queue may begin now: what the configuration says, and what people said since."""

import datetime as dt
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from lumiliod.db.queues import ALL, QueueRow

__all__ = ["ALL", "QueueRow", "Queues", "is_quiet"]


@dataclass(frozen=True, slots=True)
class QueueState:
    """A queue as it is now: ``allowed`` jobs at once, 0 when it is paused or quiet (``reason`` says which)."""

    name: str
    concurrency: int
    allowed: int
    reason: str | None


class Queues:
    """The allowances of this process.

    Args:
        changed: called when one of them differs.
    """

    def __init__(self, changed: Callable[[], None] = lambda: None) -> None:
        self.configured: dict[str, int] = {}
        self._changed = changed
        self._rows: dict[str, QueueRow] = {}
        self._states: dict[str, QueueState] = {}

    def configure(self, configured: Mapping[str, int]) -> None:
        """Say which queues this process serves, with how many jobs at once."""
        self.configured = dict(configured)
        self.refresh(dt.datetime.now(dt.UTC))

    def load(self, rows: Iterable[QueueRow]) -> None:
        """Take over what people said, as it stands in the database."""
        self._rows = {row.name: row for row in rows}
        self.refresh(dt.datetime.now(dt.UTC))

    def refresh(self, now: dt.datetime) -> None:
        """Work out every allowance for ``now``: quiet hours begin and end."""
        states = {name: self._state(name, concurrency, now) for name, concurrency in self.configured.items()}
        if states != self._states:
            self._states = states
            self._changed()

    def until_change_s(self, now: dt.datetime) -> float | None:
        """Return the seconds until quiet hours begin or end next; None without any."""
        ends = [end for row in self._rows.values() for end in _quiet_ends(row, now)]
        return min(((end - now).total_seconds() for end in ends), default=None)

    def allowed(self, queue: str) -> int:
        """Return how many jobs of ``queue`` may run at once now."""
        state = self._states.get(queue)
        return self.configured.get(queue, 0) if state is None else state.allowed

    def states(self) -> list[QueueState]:
        """Return the queues this process serves, by name."""
        return [self._states[name] for name in sorted(self._states)]

    def _state(self, name: str, configured: int, now: dt.datetime) -> QueueState:
        own, everything = self._rows.get(name, QueueRow(name)), self._rows.get(ALL, QueueRow(ALL))
        concurrency = own.concurrency or configured
        state = QueueState(name, concurrency, concurrency, None)
        if own.paused_at or everything.paused_at:
            return replace(state, allowed=0, reason="paused")
        if is_quiet(own, now) or is_quiet(everything, now):
            return replace(state, allowed=0, reason="quiet hours")
        return state


def is_quiet(row: QueueRow, now: dt.datetime) -> bool:
    """Tell whether ``now`` (aware) lies in a queue's quiet hours, which may span midnight."""
    zone = _zone(row)
    if row.quiet_from is None or row.quiet_until is None or zone is None:
        return False
    local = now.astimezone(zone).time()
    if row.quiet_from < row.quiet_until:
        return row.quiet_from <= local < row.quiet_until
    return local >= row.quiet_from or local < row.quiet_until


def _quiet_ends(row: QueueRow, now: dt.datetime) -> list[dt.datetime]:
    """Return when a queue's quiet hours begin and end next."""
    zone = _zone(row)
    if row.quiet_from is None or row.quiet_until is None or zone is None:
        return []
    today = now.astimezone(zone).date()
    times = [
        dt.datetime.combine(today + dt.timedelta(days=ahead), time, tzinfo=zone).astimezone(dt.UTC)
        for time in (row.quiet_from, row.quiet_until)
        for ahead in (0, 1)
    ]
    return [time for time in times if time > now]


def _zone(row: QueueRow) -> ZoneInfo | None:
    try:
        return None if row.quiet_zone is None else ZoneInfo(row.quiet_zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        # another process knew it; better work at night than never
        return None
