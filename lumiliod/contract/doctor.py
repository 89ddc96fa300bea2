"""What a look at the machine found, on the wire: each thing with its state and what helps."""

from collections.abc import Mapping
from typing import Literal

from msgspec import Struct

CheckState = Literal["ok", "warn", "fail"]

EXIT_STATUS: Mapping[CheckState, int] = {"ok": 0, "warn": 1, "fail": 2}
"""What a command ends with that found nothing worse."""


class Check(Struct, kw_only=True):
    """One thing that was looked at.

    ``ok``: as it should be; ``warn``: something is lacking, and everything else works; ``fail``: it does not work.
    ``fix`` says what helps, where something is to be done. Nothing of it is a secret.
    """

    area: str
    name: str
    state: CheckState
    told: str
    fix: str | None = None


class Checkup(Struct, kw_only=True):
    """Everything that was looked at, area by area."""

    checks: list[Check]
