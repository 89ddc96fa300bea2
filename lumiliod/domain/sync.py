"""Runs that bring the library in step with a disk: why they ran, what they covered, and what is believed of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from os.path import commonpath
from urllib.parse import quote_from_bytes, unquote_to_bytes

from lumiliod.domain.errors import Shape
from lumiliod.domain.ids import RepoPath, path_bytes, path_from_bytes

HOLD_SHARE, HOLD_FILES = 0.20, 50
"""More than a fifth and more than fifty files gone at once is not believed (an unmounted disk looks like that)."""

SLACK_SHARE = 0.10
"""So much more than was approved, and no more than ``HOLD_FILES``, may be missing by the time it is looked at again."""

NIGHTLY_S = 86_400
"""An interval of full scans of just a day: they are done when most people sleep."""


class SyncType(StrEnum):
    """Why a scan ran: a watcher's event, a schedule or polling, a start or a repository that is back, a person."""

    REALTIME = "realtime"
    RECONCILIATION = "reconciliation"
    STARTUP = "startup"
    MANUAL = "manual"


class SyncScope(StrEnum):
    """What a scan covered: everything, a folder with all that is below, or the files in a folder itself."""

    FULL = "full"
    FOLDER = "folder"
    FILES = "files"


class SyncStatus(StrEnum):
    """How a run is, or ended; ``held``: it found more missing than is believed without a person."""

    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    HELD = "held"


@dataclass(frozen=True, slots=True)
class SyncCounts:
    """What a scan found, in files."""

    found: int = 0
    added: int = 0
    changed: int = 0
    moved: int = 0
    missing: int = 0
    ignored: int = 0
    returned: int = 0
    """Those that had been missing; no run tells of them."""


def scope_of(folder: RepoPath, is_deep: bool) -> SyncScope:
    """Return what a scan of a folder covers; the empty one is the root."""
    if not is_deep:
        return SyncScope.FILES
    return SyncScope.FOLDER if folder else SyncScope.FULL


Part = tuple[RepoPath, bool]
"""A folder, empty for the root, and whether a scan of it is of those below, too."""


def covers(parts: Sequence[Part]) -> tuple[SyncScope, RepoPath]:
    """Return what a scan of folders covers: of several, the folder that all lie in is told."""
    if len(parts) > 1:
        return SyncScope.FOLDER, RepoPath(commonpath([f"/{folder}" for folder, _ in parts]).lstrip("/"))
    [(folder, is_deep)] = parts
    return scope_of(folder, is_deep), folder


def quoted(folder: RepoPath) -> str:
    """Return a path in a repository as jobs and requests name it: its bytes as in a URL."""
    return quote_from_bytes(path_bytes(folder))


def unquoted(text: str) -> RepoPath:
    """Return the path that ``text`` names, its bytes quoted as in a URL.

    Raises:
        Shape: it is no path inside a repository (``bad_path``).
    """
    raw = unquote_to_bytes(text)
    if raw and (b"\0" in raw or not {b"", b".", b".."}.isdisjoint(raw.split(b"/"))):
        raise Shape(f"{text[:200]!r} is no folder of a repository", code="bad_path")
    return path_from_bytes(raw)


class HeldState(StrEnum):
    """What a person has said of deletions that are held: nothing yet, that they are so, or that they are not."""

    HELD = "held"
    APPROVED = "approved"
    REJECTED = "rejected"


class Verdict(StrEnum):
    """What becomes of files that a scan did not meet: all are missing, those that nothing holds are, or none is.

    With ``hold`` a person is asked, anew if that was so already.
    """

    BELIEVE = "believe"
    BELIEVE_NEW = "believe new"
    KEEP = "keep"
    HOLD = "hold"


@dataclass(frozen=True, slots=True)
class Absent:
    """What a scan did not meet: so many files, ``new`` of which nothing holds yet, of ``known`` ones."""

    files: int
    new: int
    known: int


@dataclass(frozen=True, slots=True)
class Holding:
    """What is held before a scan concludes; ``basis`` is the fewest files that were known while it is.

    ``is_due``: a person has approved it, and the scan began after that.
    """

    state: HeldState
    files: int
    basis: int
    is_due: bool = False


def is_too_much(missing: int, known: int) -> bool:
    """Tell whether so much is missing at once that it is not believed."""
    return missing > HOLD_FILES and missing > known * HOLD_SHARE


def judged(absent: Absent, holding: Holding | None, *, is_full: bool) -> Verdict:
    """Say what becomes of what a scan did not meet; one of a folder concludes nothing about what is held."""
    if holding is None:
        return Verdict.HOLD if is_too_much(absent.files, absent.known) else Verdict.BELIEVE
    if not is_full:
        return Verdict.HOLD if is_too_much(absent.new, absent.known) else Verdict.BELIEVE_NEW
    if holding.state == HeldState.APPROVED:
        if absent.new > min(HOLD_FILES, holding.files * SLACK_SHARE):
            return Verdict.HOLD
        return Verdict.BELIEVE if holding.is_due else Verdict.KEEP
    if holding.state == HeldState.REJECTED and not absent.new:
        return Verdict.KEEP
    if is_too_much(absent.files, min(absent.known, holding.basis)):
        return Verdict.HOLD
    return Verdict.BELIEVE if holding.state == HeldState.HELD else Verdict.BELIEVE_NEW
