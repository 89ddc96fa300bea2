"""What the daemon said last of the whole."""

import time

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

    @property
    def due_in_s(self) -> float:
        """Return in how many seconds everything may be counted again."""
        return max(0.0, self._again_at - time.monotonic())

    @property
    def is_due(self) -> bool:
        """Tell whether everything may be counted again: it takes a twentieth of the daemon's time at most."""
        return time.monotonic() >= self._again_at

    def note(self, status: Status, queues: QueueList, began: float, ended: float) -> None:
        """Take what was told, which took from ``began`` to ``ended``."""
        self.status, self.queues, self.status_at = status, queues, ended
        self._again_at = ended + (ended - began) / SHARE

    def hasten(self) -> None:
        """Have everything counted at the next occasion."""
        self._again_at = 0.0
