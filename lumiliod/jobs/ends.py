"""How attempts end: with an effect, a result, or refused."""

from collections.abc import Callable
from typing import Any

from lumiliod.db.pool import Connection
from lumiliod.domain.errors import LumilioError

Result = dict[str, Any]
Effect = Callable[[Connection], Result | None]


class Fenced(LumilioError):
    """An attempt was taken away: its result was refused and nothing of it took effect."""

    default_code = "fenced"
