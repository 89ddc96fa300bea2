"""Forks of the zygote: warm, alone with their socket, reaped, and replaced whatever becomes of the zygote."""

import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from socket import socket as Socket

import pytest
import trio
import trio.testing

from lumiliod.domain.errors import Unavailable
from lumiliod.media import forkserver
from lumiliod.media.forkserver import Child, ForkServer
from lumiliod.media.media import builtin_types


@pytest.fixture
async def forks() -> AsyncIterator[ForkServer]:
    async with forkserver.opened(builtin_types()) as server:
        yield server
    assert server.pids == ()


def state(pid: int) -> str | None:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return None


async def test_workers_have_nothing_but_their_socket_and_leave_no_trace(forks: ForkServer) -> None:
    one, socket = await forks.start()
    other, second = await forks.start()
    [zygote] = forks.pids
    with socket, second:
        for child in (one, other):
            while Path(f"/proc/{child.pid}/comm").read_text() != "lumilio-media\n":
                await trio.sleep(0.01)
            while len(held := sorted(map(int, os.listdir(f"/proc/{child.pid}/fd")))) > 4:
                await trio.sleep(0.01)
            assert held[:3] == [0, 1, 2]
            assert os.getpgid(child.pid) == child.pid
            assert int(Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[1]) == zygote
        await one.end()
        await one.end()
        with trio.fail_after(5):
            while state(one.pid) is not None:
                await trio.sleep(0.01)
        assert state(other.pid) in ("S", "R")
        os.kill(other.pid, signal.SIGKILL)
        await other.end()
        with trio.fail_after(5):
            while state(other.pid) is not None:
                await trio.sleep(0.01)


async def test_a_worker_ends_with_its_socket(forks: ForkServer) -> None:
    child, socket = await forks.start()
    socket.close()
    with trio.fail_after(5):
        while state(child.pid) not in ("Z", None):
            await trio.sleep(0.01)
    await child.end()


async def test_a_lost_zygote_is_replaced_and_its_workers_can_still_be_ended(forks: ForkServer) -> None:
    orphan, socket = await forks.start()
    [lost] = forks.pids
    os.kill(lost, signal.SIGKILL)
    child, second = await forks.start()
    assert forks.pids != (lost,)
    with socket, second:
        await orphan.end()
        assert state(orphan.pid) in ("Z", None)
        await child.end()


async def test_who_gives_up_waiting_leaves_the_next_his_own_answer(forks: ForkServer) -> None:
    with trio.move_on_after(0):
        await forks.start()
    first, socket = await forks.start()
    [zygote] = forks.pids
    os.kill(zygote, signal.SIGSTOP)
    others: list[tuple[Child, Socket]] = []

    async def start() -> None:
        others.append(await forks.start())

    async with trio.open_nursery() as nursery:
        with trio.move_on_after(0.05):
            async with trio.open_nursery() as given_up:
                given_up.start_soon(start)
                await trio.testing.wait_all_tasks_blocked()
                nursery.start_soon(start)  # waits behind it
                await trio.testing.wait_all_tasks_blocked()
                nursery.start_soon(continued, zygote)
    assert forks.pids == (zygote,)
    first_pids = {first.pid, *(child.pid for child, _ in others)}
    assert len(first_pids) == 1 + len(others)
    child, its = others[-1]
    its.close()
    with trio.fail_after(5):
        while state(child.pid) not in ("Z", None):
            await trio.sleep(0.01)
    for one in (socket, *(other for _, other in others)):
        one.close()
    for process in (first, *(other for other, _ in others)):
        await process.end()


async def continued(zygote: int) -> None:
    await trio.sleep(0.2)
    os.kill(zygote, signal.SIGCONT)


async def test_a_zygote_that_hangs_is_replaced(forks: ForkServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forkserver, "FORK_LIMIT_S", 0.2)
    child, socket = await forks.start()
    [hung] = forks.pids
    os.kill(hung, signal.SIGSTOP)
    other, second = await forks.start()
    assert forks.pids != (hung,)
    assert child.is_orphan
    with socket, second:
        await child.end()
        await other.end()


async def test_after_many_ended_workers_another_zygote_begins(forks: ForkServer) -> None:
    child, socket = await forks.start()
    [former] = forks.pids
    for _ in range(forkserver.ENDED_MAX):
        forks.note_ended()
    other, second = await forks.start()
    [zygote] = forks.pids
    assert zygote != former
    assert (child.is_orphan, other.is_orphan) == (True, False)
    assert state(former) in ("S", "R"), "it reaps what it forked"
    with socket, second:
        await child.end()
        with trio.fail_after(5):
            while state(child.pid) is not None:
                await trio.sleep(0.01)
        third, last = await forks.start()
        with last:
            assert state(former) is None, "it ends when the next is started, with nothing left to reap"
            assert forks.pids == (zygote,)
            await third.end()
        await other.end()


async def test_none_is_left_to_others_to_reap() -> None:
    async with forkserver.opened(builtin_types()) as server:
        child, socket = await server.start()
        [zygote] = server.pids
        with socket:
            os.kill(zygote, signal.SIGSTOP)
            await child.end()
            os.kill(zygote, signal.SIGCONT)
    assert state(child.pid) is None
    assert state(zygote) is None


async def test_what_cannot_be_imported_starts_no_worker() -> None:
    async with forkserver.opened(("lumiliod.media.nothing:Nothing",)) as server:
        with pytest.raises(Unavailable) as caught:
            await server.start()
        assert caught.value.code == "no_worker"
        assert server.pids == ()
