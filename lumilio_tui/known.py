"""What the daemon said last of the whole."""

import time
from collections.abc import Callable

from lumiliod.contract.queues import QueueList
from lumiliod.contract.status import Health, Status

SHARE = 0.05
"""The share of the time that the console has the daemon count everything."""


class Known:
    """Health, counts and queues as they were told last; ``status_at`` is when, in seconds of the monotonic clock."""

    def __init__(self) -> None:
        self.health: Health | None = None
        self.status: Status | None = None
        self.queues: QueueList | None = None
        self.status_at = 0.0
        self._again_at = 0.0
        self._hastened_at = 0.0
        self._tells: list[Callable[[], None]] = []

    def tell(self, draw: Callable[[], None]) -> None:
        """Have ``draw`` called whenever something was told."""
        self._tells.append(draw)

    @property
    def due_in_s(self) -> float:
        """Return in how many seconds everything may be counted again."""
        return max(0.0, self._again_at - time.monotonic())

    @property
    def is_due(self) -> bool:
        """Tell whether everything may be counted again: it takes a twentieth of the daemon's time at most."""
        return time.monotonic() >= self._again_at

    def note_health(self, health: Health) -> None:
        """Take how the daemon is."""
        self.health = health
        self._told()

    def note(self, status: Status | None, queues: QueueList | None, began: float, ended: float) -> None:
        """Take what was told, or that nothing was, which took from ``began`` to ``ended``."""
        if self._hastened_at < began:  # else what was done meanwhile may not be counted in it
            self._again_at = ended + (ended - began) / SHARE
        if status is not None and queues is not None:
            self.status, self.queues, self.status_at = status, queues, ended
            self._told()

    def hasten(self) -> None:
        """Have everything counted at the next occasion."""
        self._again_at = 0.0
        self._hastened_at = time.monotonic()

    def _told(self) -> None:
        for draw in self._tells:
            draw()
