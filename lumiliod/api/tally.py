"""What the API has answered since it began, counted in memory."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

CODES_MAX = 500
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
OTHER = "other"


class Tally:
    """Answers by method and status, problems by code, and who is being answered now."""

    def __init__(self) -> None:
        self.answers: Counter[tuple[str, int]] = Counter()
        self.problems: Counter[str] = Counter()
        self.open_requests = 0
        self.event_readers = 0

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Count a request that is being answered."""
        self.open_requests += 1
        try:
            yield
        finally:
            self.open_requests -= 1

    @contextmanager
    def telling(self) -> Iterator[None]:
        """Count a reader of server-sent events."""
        self.event_readers += 1
        try:
            yield
        finally:
            self.event_readers -= 1

    def answered(self, method: str, status: int) -> None:
        """Count an answer."""
        self.answers[method if method in METHODS else OTHER, status] += 1

    def failed(self, code: str) -> None:
        """Count a problem."""
        self.problems[code if code in self.problems or len(self.problems) < CODES_MAX else OTHER] += 1
