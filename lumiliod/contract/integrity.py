"""Integrity on the wire: coverage, findings, what to do about them, mirrors."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from msgspec import Meta, Struct, field

MAX_IDS = 10_000


class Coverage(Struct, kw_only=True):
    """How much of a repository's files was read and found good within the period.

    ``status`` is ``online | offline | detached``: only what is online is read. ``share`` is of their bytes, from 0
    to 1; ``never`` counts files, ``oldest_at`` is the oldest of the others.
    """

    repository: str
    repository_id: UUID
    status: str
    files: int
    size_bytes: int
    verified: int
    verified_bytes: int
    share: float
    never: int
    oldest_at: datetime | None


class Integrity(Struct, kw_only=True):
    """How safe the originals are, at one look.

    ``share``, ``never``, ``oldest_at`` and ``through_at`` leave out what is detached: a person put it away.
    With ``scrub_days`` 0 nothing is read again by itself. ``bytes_per_s`` is how fast the last passes
    read, ``through_at`` when everything will have been verified within the period at the pace of the scrub;
    it is ``late`` when the disk or the limit is too slow for the period. ``findings`` counts open ones by
    kind. Of ``fewer_copies`` of ``originals`` there are fewer than ``copies_wanted``, themselves included.
    """

    scrub_days: int
    share: float
    never: int
    oldest_at: datetime | None
    repositories: list[Coverage]
    last_read_at: datetime | None
    bytes_per_s: float | None
    through_at: datetime | None
    late: bool
    findings: dict[str, int]
    copies_wanted: int
    originals: int
    fewer_copies: int


class VerifyRequest(Struct, kw_only=True, forbid_unknown_fields=True):
    """Body of ``POST /integrity/verify``: ``all``, or one ``repository`` (name or id), or one ``asset``."""

    all: bool = False
    repository: str | None = None
    asset: UUID | None = None


class VerifyTicket(Struct, kw_only=True):
    """The answer: verifying is a job of its own. Its result holds files, bytes, found, unstable and away."""

    task_id: UUID


class Finding(Struct, kw_only=True):
    r"""Something that is wrong, or was.

    ``kind`` is ``missing | changed | bit_rot | untracked | unreadable``, ``code`` says more. ``state`` is
    ``open | ignored | healed | resolved``. With ``mirror_id`` it is about a copy there. Bytes of ``path`` that
    are not UTF-8 appear as ``\xff``.
    """

    id: UUID
    kind: str
    code: str
    state: str
    repository: str
    repository_id: UUID
    mirror_id: UUID | None
    asset_id: UUID | None
    path: str
    detail: str
    first_seen_at: datetime
    last_seen_at: datetime
    closed_at: datetime | None


class FindingPage(Struct, kw_only=True):
    """One page of findings, the newest first."""

    items: list[Finding]
    next_cursor: str | None = None


class PlanItem(Struct, kw_only=True):
    """What would be done about a finding, why, and what else may be.

    Actions: ``restore`` good bytes from a copy, ``reingest`` what somebody wrote, ``adopt`` a file into the
    library, ``quarantine`` it, ``accept_missing``, ``remake`` a mirror's copy, ``none``: a person has to.
    ``version`` changes with what was found; it means nothing by itself, and goes into the approval.
    """

    finding: Finding
    action: str
    why: str
    alternatives: list[str]
    version: str | None = None


class Plan(Struct, kw_only=True):
    """What would be done about open findings, one page; ``next_cursor`` leads to the rest."""

    items: list[PlanItem]
    next_cursor: str | None = None


class Approval(Struct, kw_only=True, forbid_unknown_fields=True):
    """A finding and the action that was planned when a person saw it: only that is approved.

    ``action`` is taken in its place, where it is among the alternatives. With the plan's ``version`` only what was
    found then is approved, and not what was found at the same place since.
    """

    finding_id: UUID
    planned: str
    action: str | None = None
    version: str | None = None


class PlanApproval(Struct, kw_only=True, forbid_unknown_fields=True):
    """Body of ``POST /integrity/plan/apply``: what a person has seen of the plan and approves."""

    items: Annotated[list[Approval], Meta(min_length=1, max_length=MAX_IDS)]


class Applied(Struct, kw_only=True):
    """What became of one finding: ``done``, ``queued`` as the job ``task_id``, or ``failed`` with a code and why.

    ``plan_changed``: something else was found, or is planned, by now; it has to be seen first.
    """

    finding_id: UUID
    action: str
    outcome: str
    task_id: UUID | None = None
    code: str | None = None
    message: str | None = None


class AppliedList(Struct, kw_only=True):
    """What became of each approved finding."""

    items: list[Applied]


class IgnoreRequest(Struct, kw_only=True, forbid_unknown_fields=True):
    """Body of ``POST /integrity/findings/ignore``: findings that are to trouble nobody; ``undo``: they do again."""

    ids: Annotated[list[UUID], Meta(min_length=1, max_length=MAX_IDS)]
    undo: bool = False


class IgnoreResult(Struct, kw_only=True):
    """How a finding is now: its state, or ``not_found``."""

    finding_id: UUID
    state: str


class Ignored(Struct, kw_only=True):
    """How many findings were changed, and how each is now."""

    count: int
    items: list[IgnoreResult]


class Mirror(Struct, kw_only=True):
    """A second place for a repository's originals.

    ``status`` is ``online | degraded | offline`` with its reason; the place was asked just now, and one that does not
    answer within seconds is ``offline``. ``declared``: by the repository's marker. One
    that a marker wants outside its repository is ``offline`` until a person confirms it by ``POST /mirrors``.
    ``lacking`` originals have no copy there yet; ``oldest_at`` is when the copy was read that was read longest ago.
    """

    id: UUID
    repository: str
    repository_id: UUID
    location: str
    declared: bool
    status: str
    status_reason: str | None
    copies: int
    size_bytes: int
    lacking: int
    oldest_at: datetime | None
    created_at: datetime


class MirrorList(Struct, kw_only=True):
    """All mirrors, by repository."""

    items: list[Mirror]


class NewMirror(Struct, kw_only=True, forbid_unknown_fields=True):
    """Body of ``POST /mirrors``: a folder that is there, or a URL such as ``s3://bucket/prefix`` with its options.

    A secret is better given by reference: ``secret_access_key_file`` is the name of a systemd credential, or the
    absolute path of a file in the daemon's ``storage.secrets_dir``, and so for every secret; it is read whenever the
    mirror is used. What is given itself lies in the database, and is never told again.
    """

    repository: str
    location: Annotated[str, Meta(min_length=1, max_length=2000)]
    options: dict[str, str] = field(default_factory=dict[str, str])


class MirrorTicket(Struct, kw_only=True):
    """The job that brings a mirror up to date."""

    task_id: UUID
