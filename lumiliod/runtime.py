"""What the running daemon is made of, frozen; read by ``setup`` functions, the library and the API."""

import datetime as dt
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from uuid import UUID

import trio

from lumiliod import __version__
from lumiliod.config import Config
from lumiliod.contract.status import Health, ServiceHealth
from lumiliod.db import repositories as db_repositories
from lumiliod.db.pool import Database
from lumiliod.db.repositories import RepositoryRow
from lumiliod.domain.errors import LumilioError, NotFound, Retryable
from lumiliod.domain.ids import Digest, RepositoryId, UserId
from lumiliod.domain.repositories import RepositoryStatus
from lumiliod.jobs.engine import Engine
from lumiliod.media.media import Media
from lumiliod.storage import repository as storage
from lumiliod.storage.backend import Backend
from lumiliod.storage.backend import named as backend_named
from lumiliod.storage.layout import Layout
from lumiliod.storage.layout import named as layout_named
from lumiliod.storage.repository import Repository


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
    """The repositories the library knows; those that cannot be opened are ``offline`` with a reason."""

    def __init__(self) -> None:
        self._rows: dict[RepositoryId, RepositoryRow] = {}
        self._opened: dict[RepositoryId, Opened] = {}
        self._owned = ExitStack()

    def open(self, repository: Repository) -> Opened:
        """Own a repository's staging for as long as this lives, and load its plugins. Blocks.

        Raises:
            Conflict: another process owns it.
            ConfigError: a plugin it names is not installed.
        """
        opened = Opened(
            repository, backend_named("local", repository.root), layout_named(repository.marker.storage_strategy)
        )
        self._owned.enter_context(storage.exclusive(repository))
        return opened

    def close(self) -> None:
        """Give all repositories back."""
        self._owned.close()

    def put(self, row: RepositoryRow, opened: Opened | None) -> None:
        """Add or replace one."""
        self._rows[row.id] = row
        if opened is None:
            self._opened.pop(row.id, None)
        else:
            self._opened[row.id] = opened

    def rows(self) -> list[RepositoryRow]:
        """Return all, by name."""
        return sorted(self._rows.values(), key=lambda row: row.name)

    def online(self) -> list[Opened]:
        """Return those that are open."""
        return list(self._opened.values())

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
            Retryable: it is offline.
        """
        opened = self._opened.get(RepositoryId(repository_id))
        if opened is not None:
            return opened
        row = self._rows.get(RepositoryId(repository_id))
        if row is None:
            raise NotFound(f"there is no repository {repository_id}", code="repository_not_found")
        raise Retryable(
            f"the repository {row.name} is offline: {row.status_reason}", code="repository_offline", after_s=30.0
        )

    def only(self) -> Opened:
        """Return the one repository there is, for callers who named none.

        Raises:
            NotFound: there is none, or more than one.
        """
        if len(self._rows) != 1:
            found = "none exists" if not self._rows else "several exist"
            raise NotFound(f"name a repository: {found}", code="repository_not_found")
        return self.get(next(iter(self._rows)))


@asynccontextmanager
async def opened_repositories(database: Database) -> AsyncIterator[Repositories]:
    """Open every repository the database knows and record which are offline; give them back at the end."""
    repositories = Repositories()
    try:
        for row in await database.call(db_repositories.all_rows):
            current, opened = await trio.to_thread.run_sync(_open, repositories, row)
            if (current.status, current.status_reason) != (row.status, row.status_reason):
                await database.call(db_repositories.set_status, row.id, current.status, current.status_reason)
            repositories.put(current, opened)
        yield repositories
    finally:
        repositories.close()


def _open(repositories: Repositories, row: RepositoryRow) -> tuple[RepositoryRow, Opened | None]:
    try:
        found = storage.open_repository(row.root)
        if found.marker.id != row.id:
            raise Retryable("another repository lies at its root", code="repository_offline")
        opened = repositories.open(found)
    except LumilioError as error:
        return replace(row, status=RepositoryStatus.OFFLINE, status_reason=error.message), None
    return replace(row, status=RepositoryStatus.ONLINE, status_reason=None), opened


@dataclass
class _Service:
    state: str
    reason: str | None
    since: dt.datetime
    restarts: int


class HealthBoard:
    """How every service is, with its reason; written by the supervisor, read without I/O."""

    def __init__(self) -> None:
        self._started = dt.datetime.now(dt.UTC)
        self._clock = time.monotonic()
        self._services: dict[str, _Service] = {}
        self.loop_lag_ms = 0.0

    def set(self, name: str, state: str, reason: str | None = None, *, restarts: int = 0) -> None:
        """Say how a service is: ``starting | ready | degraded | failed | stopped``."""
        self._services[name] = _Service(state, reason, dt.datetime.now(dt.UTC), restarts)

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


@dataclass(frozen=True)
class Runtime:
    """Everything that lives as long as the daemon."""

    config: Config
    db: Database
    jobs: Engine
    repositories: Repositories
    media: Media
    owner_id: UserId
    health: HealthBoard
    digests: DigestLocks = field(default_factory=DigestLocks)
    disk: trio.CapacityLimiter = field(default_factory=lambda: trio.CapacityLimiter(16))
    """Threads that wait for disks."""
