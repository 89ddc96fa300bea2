"""The same said again and again is said a few times a minute, then counted, and the count is told."""

import logging
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

WINDOW_S = 60.0

CAUSES_MAX = 1000
"""So many causes are told apart; messages are constants and codes few, so more means that somebody logs data."""

Cause = tuple[str, int, str, str]


@dataclass
class _Said:
    since_s: float
    count: int = 0
    left_out: int = 0


class Limits(logging.Handler):
    """Let each cause (logger, level, message, code) be logged so often a minute; what is left out is summed up.

    A filter for a handler that was made before, and a handler itself only so that logging's own end closes it in time.

    Args:
        per_minute: how often.
        tell: takes the records that sum up.
        clock: seconds.
    """

    def __init__(
        self, per_minute: int, tell: Callable[[logging.LogRecord], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__()
        self._per_minute = per_minute
        self._tell = tell
        self._clock = clock
        self._counting = threading.RLock()
        self._said: dict[Cause, _Said] = {}
        self._timer: threading.Timer | None = None

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether a record is to be logged."""
        if record.levelno >= logging.CRITICAL or record.levelno < logging.INFO:
            return True
        with self._counting:
            self._sum_up(self._clock())
            cause = (record.name, record.levelno, str(record.msg), str(getattr(record, "code", "")))
            said = self._said.get(cause)
            if said is None:
                if len(self._said) >= CAUSES_MAX:
                    return True
                said = self._said[cause] = _Said(self._clock())
            said.count += 1
            if said.count <= self._per_minute:
                return True
            said.left_out += 1
            self._set_timer()
            return False

    def emit(self, record: logging.LogRecord) -> None:
        """Do nothing: this only filters."""

    def close(self) -> None:
        """Tell what was left out until now."""
        with self._counting:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            self._sum_up(math.inf)
        super().close()

    def _sum_up(self, now_s: float) -> None:
        """Forget whose minute is over, and tell what was left out of it."""
        for cause, said in list(self._said.items()):
            if now_s - said.since_s < WINDOW_S:
                # in the order in which they began: the others are younger
                break
            del self._said[cause]
            if said.left_out:
                self._tell(_summary(cause, said.left_out))

    def _set_timer(self) -> None:
        """Have what is left out told when its minute is over, though nothing else is said."""
        if self._timer is None:
            self._timer = threading.Timer(WINDOW_S, self._on_time)
            self._timer.daemon = True
            self._timer.start()

    def _on_time(self) -> None:
        with self._counting:
            self._timer = None
            self._sum_up(self._clock())
            if any(said.left_out for said in self._said.values()):
                self._set_timer()


def _summary(cause: Cause, count: int) -> logging.LogRecord:
    name, level, message, code = cause
    fields = {"said": message, "count": count, **({"code": code} if code else {})}
    made = {"name": name, "levelno": level, "levelname": logging.getLevelName(level), "msg": "said too often, left out"}
    return logging.makeLogRecord({**made, **fields})
