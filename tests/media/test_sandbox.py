"""Hostile files and violent ends: the daemon goes on, and nothing is left behind."""

import os
import signal
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
import trio
from PIL import Image

from lumiliod.domain.errors import LumilioError, NotFound, Permanent, Refused, Retryable, Unavailable
from lumiliod.media import capacity
from lumiliod.media.media import Media, opened
from lumiliod.media.settings import MediaSettings
from lumiliod.media.wire import Develop, Developed


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def picture(path: Path) -> str:
    Image.new("RGB", (64, 48), (10, 200, 30)).save(path, "PNG")
    return str(path)


async def test_killed_worker_is_replaced(media: Media, tmp_path: Path) -> None:
    path = picture(tmp_path / "a")
    await media.identify(path)
    [first] = media.pids
    os.kill(first, signal.SIGKILL)
    assert (await media.identify(path)).width == 64
    assert media.pids != (first,)
    assert not is_alive(first)


async def test_a_stopped_worker_condemns_no_file(tmp_path: Path) -> None:
    path = picture(tmp_path / "a")
    async with opened(MediaSettings(workers=1, wall_limit_s=0.5)) as media:
        await media.identify(path)
        [first] = media.pids
        os.kill(first, signal.SIGSTOP)
        assert (await media.identify(path)).width == 64
        assert not is_alive(first)
        assert media.pids != (first,)


ODD = """
import time
from lumiliod.media.media_type import Rendering, Sniffed

class Odd:
    name = "odd"
    order = 0

    def sniff(self, head, size):
        return Sniffed("image/x-odd", ".odd")

    def inspect(self, source, sniffed, max_pixels):
        while source.head == b"spin":
            pass
        time.sleep(60)

    def render(self, source, sniffed, recipe):
        return Rendering()
"""


@pytest.mark.parametrize(("what", "error", "code"), [("spin", Permanent, "timeout"), ("wait", Retryable, "stalled")])
async def test_only_a_file_that_takes_the_time_is_condemned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, error: type[LumilioError], code: str
) -> None:
    (tmp_path / "odd_type.py").write_text(ODD)
    monkeypatch.syspath_prepend(tmp_path)
    path = tmp_path / "file"
    path.write_text(what)
    seen: set[int] = set()
    async with opened(MediaSettings(workers=1, wall_limit_s=1.5), ["odd_type:Odd"]) as media:

        async def watch() -> None:
            while True:
                seen.update(media.pids)
                await trio.sleep(0.05)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch)
            with pytest.raises(error) as raised:
                await media.identify(str(path))
            nursery.cancel_scope.cancel()
        assert not media.pids
    assert raised.value.code == code
    assert len(seen) == 2
    if isinstance(raised.value, Unavailable):
        assert raised.value.after_s == 30


MORTAL = """
import os
from lumiliod.domain.media import AssetType, Identified
from lumiliod.media.media_type import Inspected, Rendering, Sniffed

class Mortal:
    name = "mortal"
    order = 0

    def sniff(self, head, size):
        return Sniffed("image/x-mortal", ".mortal") if head.startswith((b"die", b"live")) else None

    def inspect(self, source, sniffed, max_pixels):
        if source.head == b"die":
            os._exit(1)
        return Inspected(Identified(AssetType.PHOTO, sniffed.mime_type, sniffed.extension, source.size_bytes, 1))

    def render(self, source, sniffed, recipe):
        return Rendering()
"""


@pytest.mark.parametrize("with_killer", [False, True])
async def test_of_files_that_are_identified_together_only_what_is_sure_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, with_killer: bool
) -> None:
    (tmp_path / "mortal_type.py").write_text(MORTAL)
    monkeypatch.syspath_prepend(tmp_path)
    contents = ["live", "", "words", "gone", "link", "livex", "livexx"]
    contents += ["die"] if with_killer else []
    paths = []
    for number, content in enumerate(contents):
        path = tmp_path / str(number)
        path.write_text(content)
        paths.append(str(path))
    (tmp_path / "3").unlink()
    (tmp_path / "4").unlink()
    (tmp_path / "4").symlink_to("0")
    async with opened(MediaSettings(workers=2), ["mortal_type:Mortal"]) as media:
        known = await media.identify_together(paths)
    widths = [one.width if one is not None else None for one in known]
    if with_killer:
        assert widths == [None] * 8
    else:
        assert widths == [4, None, None, None, None, 5, 6]


HOARDING = """
from lumiliod.domain.media import AssetType, Identified
from lumiliod.media.media_type import Inspected, Rendering, Sniffed

class Hoarding:
    name = "hoarding"
    order = 0
    kept = []

    def sniff(self, head, size):
        return Sniffed("image/x-hoard", ".odd")

    def inspect(self, source, sniffed, max_pixels):
        self.kept.append(b"x" * int(source.head))
        return Inspected(Identified(AssetType.PHOTO, sniffed.mime_type, sniffed.extension))

    def render(self, source, sniffed, recipe):
        return Rendering()
"""


async def test_a_worker_that_keeps_memory_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hoarding_type.py").write_text(HOARDING)
    monkeypatch.syspath_prepend(tmp_path)
    path = tmp_path / "file"
    async with opened(MediaSettings(workers=1, memory_limit_mb=1024), ["hoarding_type:Hoarding"]) as media:
        path.write_text(str(1 << 20))
        await media.identify(str(path))
        [first] = media.pids
        path.write_text(str(300 << 20))
        await media.identify(str(path))
        assert not is_alive(first)
        path.write_text(str(1 << 20))
        await media.identify(str(path))
        assert first not in media.pids


@pytest.mark.parametrize(
    ("workers", "limit_mb", "cores", "memory_gb", "planned"),
    [
        (0, 2048, 4, 2, (1, 1024)),
        (0, 2048, 4, 1, (1, 512)),
        (0, 2048, 4, 8, (4, 1024)),
        (0, 2048, 2, 24, (2, 2048)),
        (0, 256, 4, 2, (4, 256)),
        (3, 2048, 4, 2, (3, 341)),
        (8, 2048, 4, 1, (8, 256)),
    ],
)
def test_the_pool_fits_into_the_machine(
    workers: int, limit_mb: int, cores: int, memory_gb: int, planned: tuple[int, int]
) -> None:
    assert capacity.planned(workers, limit_mb, cores, memory_gb << 30) == planned


def test_the_memory_is_that_of_the_machine_or_less() -> None:
    assert 1 << 20 < capacity.memory_bytes() <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


async def test_cancelled_request_costs_the_worker_only(media: Media, tmp_path: Path) -> None:
    path = picture(tmp_path / "a")
    await media.identify(path)
    [first] = media.pids
    os.kill(first, signal.SIGSTOP)
    with trio.move_on_after(0.2) as scope:
        await media.identify(path)
    assert scope.cancelled_caught
    assert not is_alive(first)
    assert (await media.identify(path)).width == 64


async def test_file_that_ends_its_worker_twice_is_poison(media: Media, tmp_path: Path) -> None:
    path = picture(tmp_path / "a")
    async with trio.open_nursery() as nursery:
        await media.identify(path)
        killed: set[int] = set()

        async def kill_what_works() -> None:
            while True:
                for pid in set(media.pids) - killed:
                    killed.add(pid)
                    os.kill(pid, signal.SIGKILL)
                await trio.lowlevel.checkpoint()

        os.kill(media.pids[0], signal.SIGSTOP)  # the first request waits until it is killed
        nursery.start_soon(kill_what_works)
        with pytest.raises((Permanent, Retryable)) as raised:
            await media.identify(path)
        nursery.cancel_scope.cancel()
    assert raised.value.code in {"poison", "no_worker"}  # the second may die before it is ready
    assert (await media.identify(path)).width == 64


def png_bomb(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([8, 2, 0, 0, 0])
    rows = zlib.compressobj(9)
    data = b"".join(rows.compress(bytes(1 + width * 3)) for _ in range(height // 16)) + rows.flush()
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


async def test_memory_bomb_is_refused_and_the_room_goes_on(tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.png"
    bomb.write_bytes(png_bomb(20_000, 20_000))
    async with opened(MediaSettings(workers=1, memory_limit_mb=256)) as media:
        assert (await media.identify(str(bomb))).width == 20_000
        with pytest.raises(Permanent) as raised:
            await media.thumbnails(str(bomb))
        assert isinstance(raised.value, Refused) or raised.value.code == "poison"
        assert (await media.identify(picture(tmp_path / "a"))).width == 64


async def test_requests_share_the_workers(tmp_path: Path) -> None:
    paths = [picture(tmp_path / str(number)) for number in range(20)]
    widths: list[int | None] = []

    async def identify(media: Media, path: str) -> None:
        widths.append((await media.identify(path)).width)

    async with opened(MediaSettings(workers=2)) as media:
        async with trio.open_nursery() as nursery:
            for path in paths:
                nursery.start_soon(identify, media, path)
        assert 1 <= len(media.pids) <= 2
    assert widths == [64] * 20


async def test_nothing_outlives_the_room(tmp_path: Path) -> None:
    path = picture(tmp_path / "a")
    async with opened(MediaSettings(workers=2)) as media:
        await media.identify(path)
        await media.metadata([(path, "image/png")])
        pids = media.pids
        assert len(pids) == 2
    assert not any(is_alive(pid) for pid in pids)


CHILD = """
import sys, trio
from lumiliod.media import capacity
from lumiliod.media.media import MediaSettings, opened
async def main():
    async with opened(MediaSettings(workers=1)) as media:
        await media.identify(sys.argv[1])
        await media.metadata([(sys.argv[1], "image/png")])
        print(*media.pids, flush=True)
        await trio.sleep_forever()
trio.run(main)
"""


async def test_nothing_outlives_a_killed_daemon(tmp_path: Path) -> None:
    path = picture(tmp_path / "a")
    daemon = subprocess.Popen([sys.executable, "-c", CHILD, path], stdout=subprocess.PIPE, text=True)
    assert daemon.stdout is not None
    line = await trio.to_thread.run_sync(daemon.stdout.readline)
    pids = [int(word) for word in line.split()]
    descriptors = [os.pidfd_open(pid) for pid in pids]
    assert len(pids) == 2
    daemon.kill()
    daemon.wait()
    daemon.stdout.close()
    with trio.fail_after(10):
        for descriptor in descriptors:
            await trio.lowlevel.wait_readable(descriptor)
            os.close(descriptor)


async def test_loop_is_not_blocked_while_processes_start(tmp_path: Path) -> None:
    path = picture(tmp_path / "a")
    gaps: list[float] = []

    async def tick() -> None:
        last = trio.current_time()
        while True:
            await trio.sleep(0.005)
            now = trio.current_time()
            gaps.append(now - last)
            last = now

    async with opened(MediaSettings(workers=1)) as media, trio.open_nursery() as nursery:
        nursery.start_soon(tick)
        await media.identify(path)
        await media.metadata([(path, "image/png")])
        nursery.cancel_scope.cancel()
    assert sorted(gaps)[-2] < 0.05


async def test_vanished_and_unreadable_files(media: Media, tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        await media.identify(str(tmp_path / "gone"))
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with pytest.raises(Permanent) as raised:
        await media.identify(str(fifo))
    assert raised.value.code == "unsupported"
    if os.geteuid() != 0:
        secret = Path(picture(tmp_path / "secret"))
        secret.chmod(0)
        with pytest.raises(Permanent) as raised:
            await media.identify(str(secret))
        assert raised.value.code == "unreadable"


async def test_a_stopped_exiftool_condemns_no_file(tmp_path: Path) -> None:
    path = picture(tmp_path / "a")
    async with opened(MediaSettings(workers=1, wall_limit_s=1.0)) as media:
        await media.metadata([(path, "image/png")])
        [tool] = media.pids
        os.kill(tool, signal.SIGSTOP)
        first, second = await media.metadata([(path, "image/png"), (path, "image/png")])
        assert getattr(first, "width", None) == 64
        assert getattr(second, "width", None) == 64
        os.kill(media.pids[0], signal.SIGKILL)
        [third] = await media.metadata([(path, "image/png")])
        assert getattr(third, "width", None) == 64


@pytest.mark.parametrize(
    ("does", "error", "code"),
    [("while :; do :; done", Permanent, "timeout"), ("exec sleep 60", Retryable, "stalled")],
)
async def test_a_hanging_exiftool_is_told_from_a_waiting_one(
    tmp_path: Path, does: str, error: type[LumilioError], code: str
) -> None:
    tool = tmp_path / "tool"
    tool.write_text(f'#!/bin/sh\n[ "$1" = -ver ] && echo 1.0 && exit\n{does}\n')
    tool.chmod(0o755)
    async with opened(MediaSettings(workers=1, wall_limit_s=0.6, exiftool=str(tool))) as media:
        [result] = await media.metadata([(picture(tmp_path / "a"), "image/png")])
        assert isinstance(result, error)
        assert result.code == code
        assert not media.pids


async def test_no_link_is_followed(media: Media, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(picture(tmp_path / "a"))
    with pytest.raises(Permanent) as identified:
        await media.identify(str(link))
    with pytest.raises(Permanent) as drawn:
        await media.thumbnails(str(link))
    [read] = await media.metadata([(str(link), "image/png")])
    assert isinstance(read, Permanent)
    assert {identified.value.code, drawn.value.code, read.code} == {"unreadable"}


async def test_what_an_attempt_before_has_written_is_no_part_of_what_is_made(tmp_path: Path) -> None:
    path = picture(tmp_path / "a")
    written = b"of a worker that was ended in the middle" * 1000
    async with opened(MediaSettings(workers=1)) as media:
        made = os.open(tmp_path / "made", os.O_RDWR | os.O_CREAT)
        scratch = os.open(tmp_path / "scratch", os.O_RDWR | os.O_CREAT)
        original = os.open(path, os.O_RDONLY)
        for descriptor in (made, scratch):
            os.write(descriptor, written)  # the place in a file that is handed on goes with it
        answer = await media._developing.ask(Develop(), original, scratch, made)
        for descriptor in (made, scratch, original):
            os.close(descriptor)
    assert isinstance(answer, Developed)
    content = (tmp_path / "made").read_bytes()
    assert len(content) == answer.size_bytes
    assert content.startswith(b"\xff\xd8\xff")
