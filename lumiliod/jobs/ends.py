"""How attempts end: with an effect, a result, or refused."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from lumiliod.db.pool import Connection
from lumiliod.domain.errors import LumilioError

Result = dict[str, Any]
Effect = Callable[[Connection], Result | None]


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Together(Generic[T]):
    """An effect that shares its statements with others of its kind, where they are committed at once.

    Args:
        write: writes what it is given and returns one result for each, in their order. When it raises, each is
            written by itself, and one's error is its own.
        item: what is to be written of this job.
    """

    write: Callable[[Connection, Sequence[T]], Sequence[Result | None]]
    item: T

    def __call__(self, conn: Connection) -> Result | None:
        """Write it by itself."""
        [result] = self.write(conn, [self.item])
        return result


class Fenced(LumilioError):
    """An attempt was taken away: its result was refused and nothing of it took effect."""

    default_code = "fenced"
