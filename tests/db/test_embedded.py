"""The embedded server: starts, is adopted after kill -9, comes back after its own death, has one owner."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
import trio

from lumiliod.db import embedded
from lumiliod.domain.errors import Conflict


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


def test_one_daemon_per_state_folder(tmp_path: Path) -> None:
    with embedded.locked(tmp_path):
        with pytest.raises(Conflict) as caught, embedded.locked(tmp_path):
            pass
        assert caught.value.code == "state_in_use"
        assert str(os.getpid()) in caught.value.message
    with embedded.locked(tmp_path):
        pass
