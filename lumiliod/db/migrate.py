"""Forward-only migrations: ``NNNN_what.sql``, one transaction each, checksummed in a ledger.

The lock is polled, never waited for in the server: a session waiting in ``pg_advisory_lock()``
holds a snapshot that deadlocks with CREATE INDEX CONCURRENTLY elsewhere.
"""

import hashlib
import re
import time
from dataclasses import dataclass
from pathlib import Path

import psycopg

import lumiliod
from lumiliod.db.pool import Connection
from lumiliod.db.sql import Queries
from lumiliod.domain.errors import ConfigError, Retryable, Unavailable

Q = Queries(__file__)

LOCK_KEY = 0x4C554D49  # "LUMI"
LOCK_WAIT_S = 300.0
MIN_SERVER = 160_000
MIN_VECTOR = (0, 8)

_NAME = re.compile(r"^(\d{4})_(\w+)\.sql$")


@dataclass(frozen=True, slots=True)
class Migration:
    """One file: its number, its name and its text."""

    number: int
    name: str
    text: str

    @property
    def sha256(self) -> str:
        """Return the checksum that the ledger keeps."""
        return hashlib.sha256(self.text.encode()).hexdigest()


def folder() -> Path:
    """Return where the migrations lie: inside the installed package, or beside it in a source tree."""
    package = Path(lumiliod.__file__).parent
    shipped = package / "migrations"
    return shipped if shipped.is_dir() else package.parent / "migrations"


def load(path: Path) -> list[Migration]:
    """Read all migrations of a folder in order; numbers must be 1, 2, 3 … without gaps."""
    found = []
    for file in sorted(path.glob("*.sql")):
        match = _NAME.match(file.name)
        if match is None:
            raise ConfigError(f"migration {file.name} is not named NNNN_what.sql", code="bad_migration")
        found.append(Migration(int(match[1]), match[2], file.read_text(encoding="utf-8")))
    if [m.number for m in found] != list(range(1, len(found) + 1)):
        raise ConfigError("migrations are not numbered without gaps", code="bad_migration")
    return found


def check_server(conn: Connection) -> None:
    """Refuse a server that is too old or lacks pgvector, before anything is changed.

    Raises:
        ConfigError: with what was found and what is needed.
    """
    version = conn.info.server_version
    if version < MIN_SERVER:
        raise ConfigError(
            f"PostgreSQL {version // 10_000}.{version % 10_000} is too old: 16 or newer is needed",
            code="postgres_too_old",
        )
    row = conn.execute(Q["vector_version"]).fetchone()
    found = row[0] if row else None
    if found is None:
        raise ConfigError(
            "this PostgreSQL has no pgvector: install its 'vector' extension, 0.8 or newer", code="vector_missing"
        )
    if tuple(int(part) for part in re.findall(r"\d+", found)[:2]) < MIN_VECTOR:
        raise ConfigError(f"pgvector {found} is too old: 0.8 or newer is needed", code="vector_too_old")


def migrate(conn: Connection, migrations: list[Migration]) -> list[Migration]:
    """Apply what the ledger lacks and return it. ``conn`` must be in autocommit; blocks.

    Safe to run from several processes at once and to kill at any moment.

    Raises:
        ConfigError: an applied file was edited, or the database is newer than this program.
        Retryable: another process has been migrating for five minutes.
    """
    check_server(conn)
    deadline = time.monotonic() + LOCK_WAIT_S
    while not _lock(conn):
        if time.monotonic() > deadline:
            raise Retryable("another process is migrating the database", code="migration_running")
        time.sleep(0.1)
    try:
        return _apply(conn, migrations)
    finally:
        if not conn.closed:
            conn.execute(Q["unlock"], {"key": LOCK_KEY})


def check(conn: Connection, migrations: list[Migration]) -> None:
    """Make sure that nothing is to be applied, and apply nothing. ``conn`` must be in autocommit; blocks.

    Raises:
        ConfigError: as :func:`migrate`.
        Unavailable: something is to be applied yet, which is another program's to do.
    """
    check_server(conn)
    row = conn.execute(Q["has_ledger"]).fetchone()
    missing = _missing(conn, migrations) if row and row[0] else migrations
    if missing:
        numbers = ", ".join(f"{migration.number:04d}" for migration in missing)
        raise Unavailable(f"the database lacks the migrations {numbers}: start the daemon first", code="not_migrated")


def _apply(conn: Connection, migrations: list[Migration]) -> list[Migration]:
    try:
        conn.execute(Q["create_vector"])
    except psycopg.errors.InsufficientPrivilege as error:
        raise ConfigError(
            "this database user may not create the extension 'vector': create it once as a superuser",
            code="vector_missing",
        ) from error
    conn.execute(Q["create_ledger"])
    applied = _missing(conn, migrations)
    for migration in applied:
        with conn.transaction():
            conn.execute(migration.text.encode())
            conn.execute(Q["record"], {"number": migration.number, "name": migration.name, "sha256": migration.sha256})
    return applied


def _missing(conn: Connection, migrations: list[Migration]) -> list[Migration]:
    """Return what the ledger lacks; refuse what it has otherwise."""
    ledger = {number: (name, sha256) for number, name, sha256 in conn.execute(Q["ledger"])}
    if ledger and max(ledger) > len(migrations):
        raise ConfigError(
            f"the database is at migration {max(ledger)}, this program knows {len(migrations)}: it is newer than this",
            code="database_newer",
        )
    for migration in migrations:
        if migration.number in ledger and ledger[migration.number][1] != migration.sha256:
            raise ConfigError(
                f"migration {migration.number:04d}_{migration.name} was edited after it was applied",
                code="migration_edited",
            )
    return [migration for migration in migrations if migration.number not in ledger]


def _lock(conn: Connection) -> bool:
    row = conn.execute(Q["try_lock"], {"key": LOCK_KEY}).fetchone()
    return bool(row and row[0])
