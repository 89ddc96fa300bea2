"""The one stream of what happens, read without an end: what breaks it is told, and it goes on."""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from lumiliod.client.connection import ApiError, ClientError, Connection
from lumiliod.contract.feed import EVENTS, Topic
from lumiliod.contract.live import Trouble

BACKOFF_FIRST_S, BACKOFF_MAX_S = 0.25, 5.0


@dataclass(frozen=True, slots=True)
class Happening:
    """One event: its name, its number, and its data as :data:`lumiliod.contract.feed.EVENTS` says.

    ``trouble``, with a :class:`Trouble`, is the client's own: the daemon is away; what follows says that it is back.
    """

    name: str
    number: int
    data: Any


class Feed:
    """Events of the daemon."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def follow(
        self,
        topics: Iterable[Topic] = (),
        *,
        after: int | None = None,
        sleep: Callable[[float], object] = time.sleep,
    ) -> Iterator[Happening]:
        """Yield what happens, without an end; a connection that breaks is made anew and goes on where it was.

        On ``reset`` whatever is shown is to be asked for anew: at the beginning, and where something was missed.

        Args:
            topics: which; all by default.
            after: the number of the last event that was read, in another run perhaps.
            sleep: waits so many seconds before the next try.

        Raises:
            ApiError: the daemon refuses. Unreachable: it did not answer even once.
        """
        query = ",".join(topics) or None
        was_there, is_away, delay_s, seen = False, False, BACKOFF_FIRST_S, after
        while True:
            try:
                told = self._connection.numbered_events("/events", EVENTS, after=seen, topics=query)
                with closing(told):
                    for name, number, data in told:
                        was_there, is_away, delay_s, seen = True, False, BACKOFF_FIRST_S, number
                        yield Happening(name, number, data)
                        if name == "dropped":
                            break
            except ClientError as error:
                problem = error.problem
                if not was_there or (isinstance(error, ApiError) and problem.status != 503):
                    raise
                if not is_away:
                    is_away = True
                    trouble = Trouble(code=problem.code, message=problem.detail or problem.title)
                    yield Happening("trouble", seen or 0, trouble)
            sleep(delay_s)
            delay_s = min(delay_s * 2, BACKOFF_MAX_S)
