"""What a transaction leaves for lanes and keepers to do, told in this process when it has committed, and by NOTIFY."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

from lumiliod.db.pool import Connection
from lumiliod.db.sql import Queries

Q = Queries(__file__)

CHANNEL = "lumilio_jobs"
"""Notification channel; what its payloads say is up to the engine."""


@dataclass(slots=True)
class Woken:
    """What a transaction left for others to do.

    Queues that got jobs; queues that got jobs *back*, older than those just claimed; whether any job
    was given a time.
    """

    queues: set[str] = field(default_factory=set[str])
    again: set[str] = field(default_factory=set[str])
    later: bool = False


_woken: WeakKeyDictionary[Connection, Woken] = WeakKeyDictionary()


def take_woken(conn: Connection) -> Woken:
    """Return, once, what was left to do on this connection since the last call."""
    return _woken.pop(conn, None) or Woken()


def wake_again(conn: Connection, queues: Iterable[str]) -> None:
    """Note that ``queues`` got jobs back that are older than what they may have claimed since."""
    wakes(conn).again.update(queues)


def notify(conn: Connection, payload: str) -> None:
    """Tell other processes; delivered at commit."""
    conn.execute(Q["notify"], {"channel": CHANNEL, "payload": payload})


def wakes(conn: Connection) -> Woken:
    """Return what this connection's transaction has left to do so far."""
    return _woken.setdefault(conn, Woken())


def note(conn: Connection, found: Iterable[tuple[str, str]]) -> None:
    """Note the queues of jobs by their state: available now, or later."""
    woken = wakes(conn)
    for queue, state in found:
        if state == "available":
            woken.queues.add(queue)
        else:
            woken.later = True
