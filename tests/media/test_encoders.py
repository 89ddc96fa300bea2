"""Hardware encoders: found where they are, asked whether they work, and given up when they fail."""

import os
import subprocess
import sys
from pathlib import Path

import av
import pytest

from lumiliod.domain.media import WebVideo
from lumiliod.media import confinement, encoder_probe, encoders
from lumiliod.media.media import VERSION_NAME, Media, opened
from lumiliod.media.settings import MediaSettings
from tests.media.test_web_video import film

HAS_CARD = bool(encoders.candidates("auto"))


async def converted(media: Media, path: Path, into: Path) -> tuple[WebVideo, str]:
    """Return what was told of a film's version, and its codec."""

    async def advance(_share: float) -> None:
        return

    for left in into.iterdir():
        left.unlink()
    made = await media.web_version(str(path), str(into), advance)
    assert made.version is not None
    with av.open(str(into / VERSION_NAME), "r") as container:
        return made.version, container.streams.video[0].codec_context.codec.canonical_name


def test_what_is_tried_is_what_is_there_or_wanted() -> None:
    assert encoders.candidates("software") == ()
    assert encoders.candidates("h264_qsv") == ("h264_qsv",)
    assert set(encoders.candidates("auto")) <= set(encoders.DEVICES)
    assert all(name in encoders.ENCODERS for name in encoders.DEVICES)


def test_only_a_picture_that_came_out_proves_an_encoder() -> None:
    """The first is compiled into libav and wants a card, the second is not known to it."""
    assert "h264_nvenc" in av.codecs_available
    works, reasons = encoder_probe.probe(["h264_nvenc", "h264_none", encoders.SOFTWARE])
    if not HAS_CARD:
        assert works == encoders.SOFTWARE
        assert list(reasons) == ["h264_nvenc", "h264_none"]
    assert all(reasons.values())


@pytest.mark.skipif(HAS_CARD, reason="there is hardware here")
async def test_hardware_that_is_not_there_is_done_without(tmp_path: Path, into: Path) -> None:
    path = film(tmp_path / "a.mkv", codec="mpeg4")
    told: list[str | None] = []
    async with opened(MediaSettings(workers=1, video_encoder="h264_nvenc"), report=told.append) as media:
        assert "encoder" not in media.tools
        assert (await converted(media, path, into))[1] == "h264"
        assert media.tools["encoder"] == "libx264"
        [reason] = told
        assert reason is not None
        assert "h264_nvenc" in reason
        assert media.pids == ()  # each has ended with its film
        await converted(media, path, into)
        assert len(told) == 1
    told.clear()
    async with opened(MediaSettings(workers=1), report=told.append) as media:
        assert media.tools["encoder"] == "libx264"
        assert (await converted(media, path, into))[1] == "h264"
    assert told == []


async def test_an_encoder_that_fails_at_a_film_is_given_up_and_the_film_begun_anew(tmp_path: Path, into: Path) -> None:
    """That of MPEG-1 has 25 frames a second but not 15: it passes the probe, and encodes one film but not the other."""
    fits = film(tmp_path / "fits.avi", codec="mpeg4", sound=None)
    path = film(tmp_path / "a.avi", codec="mpeg4", rate=15, sound="libmp3lame")
    told: list[str | None] = []
    async with opened(MediaSettings(workers=1, video_encoder="mpeg1video"), report=told.append) as media:
        assert (await converted(media, fits, into))[1] == "mpeg1video"
        assert (media.tools["encoder"], told) == ("mpeg1video", [])
        version, codec = await converted(media, path, into)
        assert (codec, version.width, version.height) == ("h264", 320, 160)
        [reason] = told
        assert reason is not None
        assert "mpeg1video failed" in reason
        assert media.tools["encoder"] == "libx264"
        assert (await converted(media, fits, into))[1] == "h264"
    assert len(told) == 1


async def test_a_broken_film_says_nothing_of_an_encoder(tmp_path: Path, into: Path) -> None:
    path = film(tmp_path / "b.mkv", codec="mpeg4", seconds=0.2, sound=None)
    path.write_bytes(path.read_bytes()[:600] + b"\0" * 400)
    told: list[str | None] = []
    async with opened(MediaSettings(workers=1, video_encoder="mpeg1video"), report=told.append) as media:
        with pytest.raises(Exception, match="decoded"):
            await converted(media, path, into)
        assert media.tools["encoder"] == "mpeg1video"
    assert told == []


OPENS = """
import os, socket, sys, threading
from lumiliod.media import confinement, encoders, landlock
if len(sys.argv) > 2:
    landlock.version = lambda: int(sys.argv[2])
confinement.bound(1 << 30, maps_devices=True)
print(*confinement.confine(["lumiliod"], ["/dev/null"], ["/proc/cpuinfo"], encoders.WRITABLE), sep=",")

def tried(deed, *given):
    try:
        deed(*given)
        print("done")
    except PermissionError:
        print("denied")

def opened(path, flags):
    os.close(os.open(path, flags))

def listening():
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as one:
        one.bind(f"\\0driver-{os.getpid()}")
        one.listen()

def name_a_thread():  # as a driver does, once it has one
    with open(f"/proc/self/task/{threading.get_native_id()}/comm", "w") as file:
        file.write("driver")

named = threading.Thread(target=tried, args=(name_a_thread,))
named.start()
named.join()
tried(listening)
private = sys.argv[1]
for path, flags in (("/dev/null", os.O_RDWR), ("/proc/cpuinfo", os.O_RDONLY), ("/dev/zero", os.O_RDWR),
                    (private, os.O_RDWR), (private, os.O_WRONLY | os.O_TRUNC), (private, os.O_RDONLY | os.O_TRUNC),
                    (private, os.O_RDONLY), (private, 3), (private, 3 | os.O_TRUNC),
                    (private + "x", os.O_RDWR | os.O_CREAT), ("/proc/self/environ", os.O_RDWR)):
    tried(opened, path, flags)
tried(os.unlink, private)
for family, kind in ((socket.AF_UNIX, socket.SOCK_STREAM), (socket.AF_UNIX, socket.SOCK_DGRAM),
                     (socket.AF_INET, socket.SOCK_SEQPACKET)):
    tried(socket.socket, family, kind)
tried(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET).connect, private)
"""


@pytest.mark.parametrize("as_of", [[], ["1"], ["2"]])
def test_workers_of_hardware_reach_its_devices_and_nothing_else(tmp_path: Path, as_of: list[str]) -> None:
    """Also by what the landlock of older kernels refuses."""
    if confinement.missing(confinement.offered()):
        pytest.skip("this kernel lacks a protection")
    private = tmp_path / "private"
    private.write_bytes(b"private")
    command = [sys.executable, "-c", OPENS, str(private), *as_of]
    measured = {name: value for name, value in os.environ.items() if not name.startswith("COV")}  # it would be written
    said = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True, env=measured).stdout.split()
    assert said[-18:] == ["done"] * 4 + ["denied"] * 14
    assert private.read_bytes() == b"private"
