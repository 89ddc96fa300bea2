"""Re-layouts on the wire."""

from datetime import datetime
from typing import Literal
from uuid import UUID

from msgspec import Struct


class RelayoutRequest(Struct, kw_only=True, forbid_unknown_fields=True):
    """Body of ``POST /repositories/{ref}/relayout``: the layout, and whether every file is read before it moves."""

    to: str
    verify: bool = False


class PlannedMove(Struct, kw_only=True):
    r"""A file that would move. Bytes of names that are not UTF-8 appear as ``\xff``."""

    from_path: str
    to_path: str


Resolution = Literal["renamed", "merged"]
"""What becomes of a file whose name is taken."""


class NameCollision(Struct, kw_only=True):
    """A name that is taken: ``resolution`` is ``renamed``, or ``merged`` where both files have the same bytes."""

    from_path: str
    wanted: str
    to_path: str
    resolution: str


class RelayoutPlan(Struct, kw_only=True):
    """What a re-layout would do; nothing was changed.

    ``moves`` files with ``size_bytes`` move, ``sidecars`` of them beside their originals; ``examples`` are the first.
    ``merged`` and ``renamed`` count collisions, of which ``collisions`` are the first. ``staying`` counts files of the
    inbox that do not move: ``in_place``, ``missing`` or their outcome. Files of the user area and of the trash never
    do. ``needed_bytes`` is nought where files are renamed; files on another file system are copied.
    """

    repository: str
    from_strategy: str
    to_strategy: str
    moves: int
    sidecars: int
    size_bytes: int
    examples: list[PlannedMove]
    renamed: int
    merged: int
    collisions: list[NameCollision]
    staying: dict[str, int]
    user_area: int
    user_area_bytes: int
    in_trash: int
    needed_bytes: int
    free_bytes: int


class UndoPlan(Struct, kw_only=True):
    """What undoing the last re-layout would do; nothing was changed.

    ``moves`` files with ``size_bytes`` move back, ``merged`` of them as copies of a file that was kept once;
    ``examples`` are the first. ``staying`` counts the others: ``in_place``, ``missing``, ``record_gone``, ``changed``,
    ``moved_elsewhere``, ``name_taken``.
    """

    repository: str
    from_strategy: str
    to_strategy: str
    moves: int
    merged: int
    size_bytes: int
    examples: list[PlannedMove]
    staying: dict[str, int]


class RelayoutTicket(Struct, kw_only=True):
    """A re-layout that was begun, or is undone, and the job that does it."""

    relayout_id: UUID
    task_id: UUID
    moves: int


class MoveTrouble(Struct, kw_only=True):
    """A move of which there is something to say: why it was ``skipped``, or that one of two files was kept."""

    from_path: str
    to_path: str
    state: str
    reason: str


class Relayout(Struct, kw_only=True):
    """A re-layout. ``state`` is ``running | done | undoing | undone``; ``halted``: a person cancelled its job.

    Its moves are ``pending``, ``done``, ``undone`` or ``skipped``; ``troubles`` are the first with a reason.
    """

    id: UUID
    repository: str
    from_strategy: str
    to_strategy: str
    state: str
    halted: bool
    task_id: UUID
    created_at: datetime
    finished_at: datetime | None
    pending: int
    done: int
    undone: int
    skipped: int
    merged: int
    troubles: list[MoveTrouble]
