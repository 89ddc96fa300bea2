"""What the running daemon is made of, frozen; read by ``setup`` functions, the library and the API."""

import datetime as dt
import os
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from uuid import UUID

import trio

from lumiliod import __version__
from lumiliod.config import Config
from lumiliod.contract.status import Health, ServiceHealth
from lumiliod.db import repositories as db_repositories
from lumiliod.db.pool import Database
from lumiliod.db.repositories import RepositoryRow
from lumiliod.domain.errors import LumilioError, NotFound, Shape, Unavailable
from lumiliod.domain.ids import Digest, RepositoryId, UserId
from lumiliod.domain.repositories import RepositoryStatus
from lumiliod.jobs.engine import Engine
from lumiliod.jobs.shared_work import SharedWork
from lumiliod.media.media import Media
from lumiliod.storage import repository as storage
from lumiliod.storage.backend import Backend
from lumiliod.storage.backend import named as backend_named
from lumiliod.storage.hashers import Hashers
from lumiliod.storage.layout import Layout
from lumiliod.storage.layout import named as layout_named
from lumiliod.storage.repository import Repository

DETACHED_AFTER_S = 86_400.0
"""When to ask again for a repository that a person put away."""


@dataclass(frozen=True)
class Opened:
    """A repository with the plugins it is run by."""

    repository: Repository
    backend: Backend
    layout: Layout

    @property
    def id(self) -> RepositoryId:
        """Return the repository's id."""
        return self.repository.marker.id


class Repositories:
    """The repositories the library knows; those that cannot be reached are ``offline`` with a reason.

    ``changed`` is set, and replaced, whenever one goes offline, or one is asked for that is not known here;
    ``came_or_went`` whenever one is opened, anew or with other settings, or is open no longer.

    Args:
        owner: whether this process owns them: their staging, and the verdict on whether they can be reached.
    """

    def __init__(self, *, owner: bool = True) -> None:
        self._owner = owner
        self._rows: dict[RepositoryId, RepositoryRow] = {}
        self._opened: dict[RepositoryId, Opened] = {}
        self._locks: dict[RepositoryId, ExitStack] = {}
        self.changed = trio.Event()
        self.came_or_went = trio.Event()

    def open(self, repository: Repository) -> Opened:
        """Own a repository's staging until it is lost or closed, if it is to be owned, and load its plugins. Blocks.

        Raises:
            Conflict: another process owns it.
            ConfigError: a plugin it names is not installed.
        """
        layout = layout_named(repository.marker.storage_strategy)
        opened = Opened(repository, backend_named("local", repository.root), layout)
        if self._owner:
            with ExitStack() as stack:
                stack.enter_context(storage.exclusive(repository))
                self._locks[opened.id] = stack.pop_all()
        return opened

    def reach(self, row: RepositoryRow) -> tuple[RepositoryRow, Opened | None]:
        """Try to open what lies at a row's root, unless a person put it away; return the row as it is then. Blocks."""
        if row.status == RepositoryStatus.DETACHED:
            return row, None
        try:
            opened = self.open(storage.reopen(row.root, row.id, row.name))
        except LumilioError as error:
            return replace(row, status=RepositoryStatus.OFFLINE, status_reason=error.message), None
        strategy = opened.repository.marker.storage_strategy
        return replace(row, status=RepositoryStatus.ONLINE, status_reason=None, storage_strategy=strategy), opened

    def put(self, row: RepositoryRow, opened: Opened | None) -> None:
        """Add or replace one; without ``opened`` it is offline."""
        self._rows[row.id] = row
        if opened is None:
            self.release(row.id)
        elif self._opened.get(row.id) is not opened:
            self._opened[row.id] = opened
            self._come_or_go()

    def lose(self, repository_id: RepositoryId, reason: str) -> None:
        """Note that a repository cannot be reached any more; a service of the daemon tries it again."""
        row = self._rows.get(repository_id)
        if row is not None and repository_id in self._opened:
            self.put(replace(row, status=RepositoryStatus.OFFLINE, status_reason=reason), None)
            self._change()

    def announce(self) -> None:
        """Have whoever keeps an eye on them look again."""
        self._change()

    def _change(self) -> None:
        self.changed.set()
        self.changed = trio.Event()

    def _come_or_go(self) -> None:
        self.came_or_went.set()
        self.came_or_went = trio.Event()

    def release(self, repository_id: RepositoryId) -> None:
        """Give up owning one."""
        if self._opened.pop(repository_id, None) is not None:
            self._come_or_go()
        lock = self._locks.pop(repository_id, None)
        if lock is not None:
            lock.close()

    def close(self) -> None:
        """Give all repositories back."""
        for repository_id in list(self._locks):
            self.release(repository_id)

    def rows(self) -> list[RepositoryRow]:
        """Return all, by name."""
        return sorted(self._rows.values(), key=lambda row: row.name)

    def online(self) -> list[Opened]:
        """Return those that are open."""
        return list(self._opened.values())

    def offline(self) -> list[RepositoryRow]:
        """Return those that are not, but should be."""
        return [row for row in self.rows() if row.id not in self._opened and row.status != RepositoryStatus.DETACHED]

    def forget(self, repository_id: RepositoryId) -> None:
        """Give up one that the library does not know any more."""
        self._rows.pop(repository_id, None)
        self.release(repository_id)

    def known(self, repository_id: RepositoryId) -> RepositoryRow | None:
        """Return one as it is known, None when it is not."""
        return self._rows.get(repository_id)

    def name(self, repository_id: RepositoryId) -> str:
        """Return what the library calls one, which its marker need not; its id when it is not known any more."""
        row = self._rows.get(repository_id)
        return row.name if row is not None else str(repository_id)

    def is_open(self, repository_id: RepositoryId) -> bool:
        """Tell whether one is open."""
        return repository_id in self._opened

    def row(self, ref: str) -> RepositoryRow:
        """Find one by its name or id.

        Raises:
            NotFound: there is none.
        """
        for row in self._rows.values():
            if ref in {row.name, str(row.id)}:
                return row
        raise NotFound(f"there is no repository {ref!r}", code="repository_not_found")

    def get(self, repository_id: UUID) -> Opened:
        """Return an open repository.

        Raises:
            NotFound: it is unknown.
            Unavailable: it is offline.
        """
        opened = self._opened.get(RepositoryId(repository_id))
        if opened is not None:
            return opened
        row = self._rows.get(RepositoryId(repository_id))
        if row is None and self._owner:
            raise NotFound(f"there is no repository {repository_id}", code="repository_not_found")
        if row is None:
            self._change()
            raise Unavailable(f"the repository {repository_id} is not known here yet", code="repository_offline")
        if row.status == RepositoryStatus.DETACHED:
            # whoever attaches it hastens what waits
            message = f"the repository {row.name} is detached"
            raise Unavailable(message, code="repository_detached", after_s=DETACHED_AFTER_S)
        raise Unavailable(
            f"the repository {row.name} is offline: {row.status_reason}", code="repository_offline", after_s=30.0
        )

    def only(self) -> Opened:
        """Return the one repository there is, for callers who named none.

        Raises:
            NotFound: there is none. Shape: there are more than one (``repository_needed``).
        """
        if not self._rows:
            raise NotFound("name a repository: none exists", code="repository_not_found")
        if len(self._rows) > 1:
            raise Shape("name a repository: several exist", code="repository_needed")
        return self.get(next(iter(self._rows)))


@asynccontextmanager
async def opened_repositories(database: Database) -> AsyncIterator[Repositories]:
    """Open every repository the database knows and record which are offline; give them back at the end."""
    repositories = Repositories()
    try:
        for row in await database.call(db_repositories.all_rows):
            await reopen(database, repositories, row)
        yield repositories
    finally:
        repositories.close()


async def reopen(database: Database, repositories: Repositories, row: RepositoryRow) -> Opened | None:
    """Try to open what lies at a row's root; record whether it is there."""
    known = repositories.known(row.id)
    current, opened = await trio.to_thread.run_sync(repositories.reach, row)
    is_same = repositories.known(row.id) == known
    if is_same and ((current.status, current.status_reason) != (row.status, row.status_reason) or opened is None):
        await database.call(db_repositories.note_status, current)
        is_same = repositories.known(row.id) == known
    if not is_same:
        # a person moved it or put it away while this looked
        if not repositories.is_open(row.id):
            repositories.release(row.id)
        return None
    repositories.put(current, opened)
    return opened


@contextmanager
def reaching(repositories: Repositories, opened: Opened) -> Iterator[None]:
    """Note a repository as lost when what runs inside finds its root gone; the error goes on."""
    try:
        yield
    except Unavailable as error:
        if error.code == "repository_offline":
            repositories.lose(opened.id, error.message)
        raise


class WatchState(StrEnum):
    """How changes in a repository are noticed: ``polling`` by scans alone, ``degraded`` not before it is watched."""

    WATCHING = "watching"
    POLLING = "polling"
    DEGRADED = "degraded"
    OFFLINE = "offline"


@dataclass(frozen=True, slots=True)
class Watched:
    """How a repository is watched, why so, and since when; ``is_lacking`` when it should be better."""

    state: WatchState
    reason: str | None
    since: dt.datetime
    is_lacking: bool = False


@dataclass
class _Service:
    state: str
    reason: str | None
    since: dt.datetime
    restarts: int


def _resident_bytes() -> int:
    """Return what this process has in memory; the kernel tells it without a disk."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0


class HealthBoard:
    """How every service is, with its reason; written by the supervisor, read without I/O."""

    def __init__(self) -> None:
        self._started = dt.datetime.now(dt.UTC)
        self._clock = time.monotonic()
        self._services: dict[str, _Service] = {}
        self._essential: set[str] = set()
        self.loop_lag_ms = 0.0
        self.is_stopping = False
        self.changed = trio.Event()
        """Set, and replaced, whenever a service is otherwise than before."""

    def set(self, name: str, state: str, reason: str | None = None, *, restarts: int = 0) -> None:
        """Say how a service is: ``starting | ready | degraded | failed | stopped``."""
        if reason is not None:
            # names of files are bytes, and what is told of them is UTF-8
            reason = reason.encode("utf-8", "backslashreplace").decode()
        before = self._services.get(name)
        self._services[name] = _Service(state, reason, dt.datetime.now(dt.UTC), restarts)
        if before is None or (before.state, before.reason) != (state, reason):
            self.changed.set()
            self.changed = trio.Event()

    def forget(self, name: str) -> None:
        """Say nothing more of a service."""
        if self._services.pop(name, None) is not None:
            self.changed.set()
            self.changed = trio.Event()

    def require(self, name: str) -> None:
        """Note that the daemon is nothing without a service."""
        self._essential.add(name)

    def dead(self) -> list[str]:
        """Return the services without which the daemon is nothing and that have ended, though nobody stops it."""
        if self.is_stopping:
            return []
        found = ((name, self._services.get(name)) for name in sorted(self._essential))
        return [name for name, service in found if service is not None and service.state in {"failed", "stopped"}]

    def snapshot(self) -> Health:
        """Return the wire form."""
        states = {service.state for service in self._services.values()}
        status = "failed" if "failed" in states else "degraded" if states - {"ready"} else "ok"
        return Health(
            status=status,
            version=__version__,
            started_at=self._started,
            uptime_s=round(time.monotonic() - self._clock, 3),
            loop_lag_ms=round(self.loop_lag_ms, 3),
            memory_bytes=_resident_bytes(),
            services=[
                ServiceHealth(name=name, state=s.state, reason=s.reason, since=s.since, restarts=s.restarts)
                for name, s in sorted(self._services.items())
            ],
        )

    @property
    def ready(self) -> bool:
        """Tell whether every service has started and none has failed."""
        return bool(self._services) and all(s.state in {"ready", "degraded"} for s in self._services.values())


class DigestLocks:
    """One at a time per digest: two uploads of the same bytes must not both place them."""

    def __init__(self) -> None:
        self._locks: dict[str, tuple[trio.Lock, int]] = {}

    @asynccontextmanager
    async def holding(self, digest: Digest) -> AsyncIterator[None]:
        """Hold the lock of one digest."""
        lock, users = self._locks.get(digest, (trio.Lock(), 0))
        self._locks[digest] = (lock, users + 1)
        try:
            async with lock:
                yield
        finally:
            lock, users = self._locks[digest]
            if users == 1:
                del self._locks[digest]
            else:
                self._locks[digest] = (lock, users - 1)


@dataclass
class InForce:
    """The configuration as it is now: replaced as a whole when its file is read again."""

    config: Config


@dataclass(frozen=True)
class Runtime:
    """Everything that lives as long as the daemon."""

    in_force: InForce
    db: Database
    jobs: Engine
    repositories: Repositories
    media: Media
    owner_id: UserId
    health: HealthBoard
    hashers: Hashers = field(default_factory=lambda: Hashers(0))
    """Processes that hash, while there is much; with none of them files are hashed here."""
    digests: DigestLocks = field(default_factory=DigestLocks)
    streaming: SharedWork = field(default_factory=SharedWork)
    """Pieces of films that are being made, for whoever waits for them."""
    adding: trio.Lock = field(default_factory=trio.Lock)
    """Held while a repository is taken in: names and folders are checked against those known."""
    disk: trio.CapacityLimiter = field(default_factory=lambda: trio.CapacityLimiter(16))
    """Threads that wait for disks."""
    mirrors_asked: set[UUID] = field(default_factory=set[UUID])
    """Mirrors that a thread asks whether they are there."""
    watched: dict[RepositoryId, Watched] = field(default_factory=dict[RepositoryId, Watched])
    """How open repositories are watched: those that are."""

    @property
    def config(self) -> Config:
        """Return the configuration in force; what may change is to be asked for when it is needed."""
        return self.in_force.config

    def note_watch(
        self, opened: Opened, state: WatchState, reason: str | None = None, *, is_lacking: bool = False
    ) -> None:
        """Say how a repository is watched; its health says what is lacking."""
        self.watched[opened.id] = Watched(state, reason, dt.datetime.now(dt.UTC), is_lacking)
        self.report_watches()

    def report_watches(self) -> None:
        """Have the health of ``watch`` say which repositories are not watched as they should be."""
        lacking = [
            f"{self.repositories.name(id_)}: {one.reason}" for id_, one in self.watched.items() if one.is_lacking
        ]
        self.health.set("watch", "degraded" if lacking else "ready", "; ".join(sorted(lacking)) or None)
