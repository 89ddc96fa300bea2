"""The embedded server: starts, is adopted after kill -9, comes back after its own death, has one owner."""

import contextlib
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import trio

from lumiliod.db import embedded
from lumiliod.domain.errors import ConfigError, Conflict, Unavailable


@pytest.fixture(scope="module")
def server(short_dir: Path) -> embedded.Server:
    return embedded.prepare(short_dir / "own")


async def running(server: embedded.Server) -> int:
    with trio.fail_after(60):
        while (pid := embedded.running_pid(server)) is None:
            await trio.sleep(0.02)
    return pid


async def test_starts_listens_on_its_socket_only_and_stops(server: embedded.Server) -> None:
    async with trio.open_nursery() as nursery:
        await nursery.start(embedded.serve, server)
        with psycopg.connect(server.admin_conninfo) as conn:
            assert conn.execute("SHOW listen_addresses").fetchone() == ("",)
            assert conn.info.server_version >= 180000
        nursery.cancel_scope.cancel()
    assert embedded.running_pid(server) is None


async def test_comes_back_with_what_was_committed(server: embedded.Server) -> None:
    async with trio.open_nursery() as nursery:
        await nursery.start(embedded.serve, server)
        with psycopg.connect(server.admin_conninfo) as conn:
            conn.execute("CREATE TABLE IF NOT EXISTS kept (n int)")
            conn.execute("INSERT INTO kept VALUES (1)")
        first = await running(server)
        os.kill(first, signal.SIGKILL)
        with trio.fail_after(60):
            while await running(server) == first:
                await trio.sleep(0.02)
            while True:
                try:
                    with psycopg.connect(server.admin_conninfo) as conn:
                        row = conn.execute("SELECT count(*) FROM kept").fetchone()
                    break
                except psycopg.OperationalError:
                    await trio.sleep(0.05)
        assert row is not None
        assert row[0] >= 1
        nursery.cancel_scope.cancel()


async def test_adopts_the_server_a_killed_daemon_left(server: embedded.Server) -> None:
    code = (
        "import sys, trio\n"
        "from pathlib import Path\n"
        "from lumiliod.db import embedded\n"
        "async def main():\n"
        "    async with trio.open_nursery() as nursery:\n"
        "        await nursery.start(embedded.serve, embedded.prepare(Path(sys.argv[1])))\n"
        "        print('up', flush=True)\n"
        "trio.run(main)\n"
    )
    state_dir = server.data.parent.parent
    child = subprocess.Popen([sys.executable, "-c", code, str(state_dir)], stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert await trio.to_thread.run_sync(child.stdout.readline) == b"up\n"
    child.kill()
    child.wait()
    child.stdout.close()
    left = embedded.running_pid(server)
    assert left is not None
    async with trio.open_nursery() as nursery:
        await nursery.start(embedded.serve, server)
        assert embedded.running_pid(server) == left
        nursery.cancel_scope.cancel()
    assert embedded.running_pid(server) is None


def test_a_state_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError) as caught, embedded.locked(tmp_path / "file" / "state"):
        pass
    assert caught.value.code == "state_unusable"
    assert str(tmp_path / "file" / "state") in caught.value.message


def test_one_daemon_per_state_folder(tmp_path: Path) -> None:
    with embedded.locked(tmp_path):
        with pytest.raises(Conflict) as caught, embedded.locked(tmp_path):
            pass
        assert caught.value.code == "state_in_use"
        assert str(os.getpid()) in caught.value.message
    with embedded.locked(tmp_path):
        pass


@pytest.fixture
def sleeper() -> Iterator[int]:
    """Return the id of a living process of this user that is no server."""
    with subprocess.Popen(["sleep", "600"]) as process:
        yield process.pid
        process.kill()


async def crashed(server: embedded.Server) -> None:
    """Leave what a power cut leaves: lock files of a server that is gone."""
    async with trio.open_nursery() as nursery:
        await nursery.start(embedded.serve, server)
        held = {path: path.read_bytes() for path in lock_files(server)}
        nursery.cancel_scope.cancel()
    for path, content in held.items():
        path.write_bytes(content)


def lock_files(server: embedded.Server) -> list[Path]:
    return [server.data / "postmaster.pid", server.sockets / ".s.PGSQL.5432.lock"]


def named(path: Path, pid: int) -> None:
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([f"{pid}\n", *lines[1:]]))


async def starts(server: embedded.Server) -> None:
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            await nursery.start(embedded.serve, server)
            with psycopg.connect(server.admin_conninfo) as conn:
                conn.execute("SELECT 1")
            nursery.cancel_scope.cancel()
    assert embedded.running_pid(server) is None


async def test_a_stale_lock_whose_number_another_process_has_got(server: embedded.Server, sleeper: int) -> None:
    await crashed(server)
    for path in lock_files(server):
        named(path, sleeper)
    await starts(server)


async def test_a_stale_socket_lock_of_another_run(server: embedded.Server, sleeper: int) -> None:
    await crashed(server)
    named(lock_files(server)[1], sleeper)
    await starts(server)


async def test_a_lock_file_that_a_power_cut_emptied(server: embedded.Server) -> None:
    await crashed(server)
    for path in lock_files(server):
        path.write_bytes(b"")
    await starts(server)


async def test_memory_in_use_is_waited_for_never_overridden(server: embedded.Server, sleeper: int) -> None:
    """A backend that outlived its killed server keeps the next one out, whatever the lock file says."""
    async with trio.open_nursery() as nursery:
        await nursery.start(embedded.serve, server)
        pid = await running(server)
        with psycopg.connect(server.admin_conninfo) as conn:
            backend = conn.info.backend_pid
            os.kill(backend, signal.SIGSTOP)
            os.kill(pid, signal.SIGKILL)
            named_when_dead(server, pid, sleeper)
            with pytest.raises(trio.TooSlowError), trio.fail_after(2):
                await up_again(server)
            os.kill(backend, signal.SIGKILL)
        with trio.fail_after(30):
            await up_again(server)
        nursery.cancel_scope.cancel()


def named_when_dead(server: embedded.Server, pid: int, other: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        descriptor = os.pidfd_open(pid)
        select.select([descriptor], [], [], 10)
        os.close(descriptor)
    for path in lock_files(server):
        named(path, other)


async def up_again(server: embedded.Server) -> None:
    while True:
        if await trio.to_thread.run_sync(embedded._answers, server.admin_conninfo):
            return
        await trio.sleep(0.05)


async def test_finds_the_running_server_through_a_link(server: embedded.Server, short_dir: Path) -> None:
    link = short_dir / "link"
    link.symlink_to(server.data.parent.parent)
    linked = embedded.prepare(link)
    async with trio.open_nursery() as nursery:
        await nursery.start(embedded.serve, linked)
        assert embedded.running_pid(server) == embedded.running_pid(linked) is not None
        assert linked.conninfo == server.conninfo
        nursery.cancel_scope.cancel()


def children() -> Iterator[tuple[str, bytes]]:
    """Yield the state and the command line of every child of this process."""
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
            if int(parent) == os.getpid():
                yield state, (folder / "cmdline").read_bytes()


async def test_leaves_no_zombie_and_no_orphan(server: embedded.Server) -> None:
    for pause_s in (0, 0.02, 0.1):
        with trio.move_on_after(pause_s):
            await embedded.serve(server)
        assert [state for state, command in children() if state == "Z" or os.fsencode(server.data) in command] == []
        assert embedded.running_pid(server) is None


async def test_a_server_that_does_not_come_back_is_unavailable(
    server: embedded.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "START_TIMEOUT_S", 1.5)
    moved = server.data.with_name("away")

    async def loses_its_data() -> None:
        async with trio.open_nursery() as nursery:
            await nursery.start(embedded.serve, server)
            pid = await running(server)
            server.data.rename(moved)
            os.kill(pid, signal.SIGKILL)

    with pytest.raises(ExceptionGroup) as caught:
        await loses_its_data()
    moved.rename(server.data)
    assert caught.group_contains(Unavailable)
    monkeypatch.undo()
    await starts(server)
