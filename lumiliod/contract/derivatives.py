"""Derivatives on the wire: what was made of originals, as a whole."""

from typing import Annotated, Literal
from uuid import UUID

from msgspec import Meta, Struct

MAX_IDS = 10_000

DerivativeJob = Literal["thumbnails", "transcode", "develop"]
"""The job kinds that make derivatives: pictures and waveforms; films, strips and sounds for the web; photos for it."""


class DerivativeKind(Struct, kw_only=True):
    """The derivatives of one kind: ``files`` of them with ``size_bytes`` are there.

    ``recipe`` is how they are made now, ``outdated`` counts those made otherwise, which are made anew. ``evicted``
    counts those that made room and are made again when somebody asks for them.
    """

    kind: str
    recipe: str
    files: int
    size_bytes: int
    outdated: int
    evicted: int


class DerivativeWork(Struct, kw_only=True):
    """What is left for one job kind: jobs that are ``open``, or ``failed`` for good, and assets ``without_job``."""

    job: str
    open: int
    failed: int
    without_job: int


class FilmPieces(Struct, kw_only=True):
    """Pieces of films that are kept for streaming: ``files`` with ``size_bytes``, and how much may be in a repository.

    With a ``budget_bytes`` of 0 none are made.
    """

    files: int
    size_bytes: int
    budget_bytes: int


class DerivativeStatus(Struct, kw_only=True):
    """All derivatives. Films for the web may take ``web_videos_budget_bytes`` in each repository, 0 is no limit.

    So may photos in full size ``web_photos_budget_bytes``. ``film_pieces`` are those of repositories that are there.
    """

    items: list[DerivativeKind]
    work: list[DerivativeWork]
    web_videos_budget_bytes: int
    web_photos_budget_bytes: int
    film_pieces: FilmPieces


class RebuildRequest(Struct, kw_only=True, forbid_unknown_fields=True):
    """Which derivatives are to be made anew: those of ``assets``, or all of a ``repository`` (its name or id), or all.

    ``jobs`` leaves it at what these make. Until the new ones are there, the older are served.
    """

    assets: Annotated[list[UUID], Meta(min_length=1, max_length=MAX_IDS)] | None = None
    repository: str | None = None
    jobs: Annotated[list[DerivativeJob], Meta(min_length=1)] | None = None


class Rebuilt(Struct, kw_only=True):
    """How many jobs now make derivatives anew, by job kind; those that were open already are not counted."""

    added: dict[str, int]


class PruneTicket(Struct, kw_only=True):
    """The job that removes derivatives nobody needs.

    Its result counts those it ``removed`` because no row names them, and those ``evicted`` for the budget, with their
    bytes, and names the repositories that were ``away``.
    """

    task_id: UUID
