"""The one stream of what happens: a ring of events that all readers share, each at its own place in it.

Nothing is looked at while nobody reads. A reader that comes back within ``LINGER_S`` goes on where it was.
"""

import math
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager

import msgspec
import trio

from lumiliod.contract.events import Event
from lumiliod.contract.feed import TOPICS, DroppedEvent, ResetEvent, Topic
from lumiliod.domain.errors import Shape
from lumiliod.library.live import Moment, Watchers

PERIOD_S = 0.5
"""Between two looks: of each topic at most two events a second, but for runs of a scan, which are told one by one."""

RING_EVENTS = 1024
"""So many events are kept for those who are behind; who is further behind is dropped."""

LINGER_S = 30.0
"""How long what was told stays true after the last reader has gone."""

FOREVER = 1 << 53
"""Numbers that JSON's readers keep exactly lie below."""

Look = Callable[[frozenset[str]], Awaitable[list[tuple[Topic, msgspec.Struct]]]]


class Feed:
    """What happens, as events with growing numbers.

    The numbers begin with the time in microseconds, so that those of a daemon that was started anew are greater.

    Args:
        looks: each tells what has happened since its last look, of the topics that are read; one that waits, for a
            database that hangs, holds up none of the others.
    """

    def __init__(self, *looks: Look) -> None:
        self._looks = looks
        self._ring: deque[Event] = deque(maxlen=RING_EVENTS)
        self._number = time.time_ns() // 1000 % FOREVER
        self._changed = trio.Event()
        self._looking = trio.Lock()
        self._left_s = -math.inf
        self._topics: Counter[str] = Counter()
        self.watchers = Watchers()

    @property
    def newest(self) -> int:
        """Return the number of the newest event."""
        return self._number

    @property
    def oldest(self) -> int:
        """Return the number of the oldest event that is kept, or of the next one."""
        return self._ring[0].number if self._ring else self._number + 1

    @contextmanager
    def read(self, topics: frozenset[str]) -> Iterator[None]:
        """Count one who reads ``topics``.

        Raises:
            Retryable: there are too many.
        """
        with self.watchers.one_more():
            if self.watchers.count == 1 and trio.current_time() - self._left_s > LINGER_S:
                # nobody has looked meanwhile: a number from before says nothing
                self._ring.clear()
                self._number += 1
            self._topics.update(topics)
            try:
                yield
            finally:
                self._topics.subtract(topics)
                self._left_s = trio.current_time()

    async def keep(self) -> None:
        """Look now and then, or wait until it is one's turn to."""
        async with self._looking, trio.open_nursery() as nursery:
            for look in self._looks:
                nursery.start_soon(self._keep, look)

    async def _keep(self, look: Look) -> None:
        while True:
            for topic, content in await look(frozenset(+self._topics)):
                self.tell(topic, content)
            await trio.sleep(PERIOD_S)

    def tell(self, topic: str, content: msgspec.Struct) -> None:
        """Add an event, encoded once for all."""
        self._number += 1
        self._ring.append(Event(topic, self._number, msgspec.json.encode(content)))
        self._changed.set()
        self._changed = trio.Event()

    async def wait(self, number: int) -> None:
        """Wait until there is an event after ``number``."""
        while self._number <= number:
            await self._changed.wait()

    def event(self, number: int) -> Event:
        """Return the event of a number that is kept."""
        return self._ring[number - self.oldest]


class Reader:
    """One who reads: what is told of its topics from now on, or from behind the event ``after`` if that is known.

    Raises:
        Shape: there is no such topic (``bad_topic``).
    """

    def __init__(self, feed: Feed, topics: Iterable[str], after: int | None = None) -> None:
        self._feed = feed
        self._topics = frozenset(topics) or frozenset(TOPICS)
        self._after = after
        self._seen = 0
        self._is_new = True
        for topic in sorted(self._topics - frozenset(TOPICS)):
            raise Shape(f"there is no topic {topic[:40]!r}; there are {', '.join(TOPICS)}", code="bad_topic")

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Read, from here on.

        Raises:
            Retryable: too many read already.
        """
        with self._feed.read(self._topics):
            is_known = self._after is not None and self._feed.oldest - 1 <= self._after <= self._feed.newest
            self._is_new = not is_known
            self._seen = self._after if is_known and self._after is not None else self._feed.newest
            yield

    async def keep(self) -> None:
        """Look for all, as long as it is one's turn."""
        await self._feed.keep()

    async def after(self, number: int) -> Moment:
        """Return what follows the event ``number``; the last is that this reader is dropped."""
        await trio.lowlevel.checkpoint()
        self._seen = max(self._seen, number)
        if self._is_new:
            self._is_new = False
            return _moment("reset", self._seen, ResetEvent(reason="new" if self._after is None else "gap"))
        while True:
            await self._feed.wait(self._seen)
            if self._seen + 1 < self._feed.oldest:
                message = "This reader fell too far behind; it may come again."
                # with the number that it had reached: when it comes again it hears that something was missed
                return _moment("dropped", self._seen, DroppedEvent(code="reader_too_slow", message=message), last=True)
            self._seen += 1
            event = self._feed.event(self._seen)
            if event.name in self._topics:
                return Moment(event, last=False)


def _moment(name: str, number: int, content: msgspec.Struct, *, last: bool = False) -> Moment:
    return Moment(Event(name, number, msgspec.json.encode(content)), last)
