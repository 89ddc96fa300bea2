"""A file that took over its decoder: what it tries is refused by the kernel, what it says is not believed."""

import ctypes
import os
import platform
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import trio
from PIL import Image

from lumiliod.domain.errors import Permanent, Retryable
from lumiliod.media import confinement, landlock, seccomp
from lumiliod.media.media import Media, opened
from lumiliod.media.settings import MediaSettings

HOSTILE = """
import ctypes, os, socket, stat, subprocess, sys
from lumiliod.domain.errors import Permanent
from lumiliod.domain.media import AssetType, Identified
from lumiliod.media.media_type import Inspected, Picture, Rendering, Sniffed

libc = ctypes.CDLL(None, use_errno=True)
BUFFER = ctypes.create_string_buffer(64)

def checked(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), "refused")

def connect(family, to):
    with socket.socket(family) as there:
        there.connect(to)

def says(*parts):
    for number in range(3, 64):
        try:
            if stat.S_ISSOCK(os.fstat(number).st_mode):
                for part in parts:
                    os.write(number, part)
        except OSError:
            continue

ATTEMPTS = {
    "read": lambda to, own: open(to, "rb").close(),
    "write": lambda to, own: open(to, "wb").close(),
    "make a folder": lambda to, own: os.mkdir(to),
    "remove": lambda to, own: os.unlink(to),
    "link": lambda to, own: os.symlink("x", to),
    "change the mode": lambda to, own: os.chmod(to, 0o777),
    "change its mode": lambda to, own: os.fchmod(own, 0o777),
    "change its time": lambda to, own: os.utime(own),
    "write the original": lambda to, own: os.write(own, b"x"),
    "open the original to write": lambda to, own: open(f"/proc/self/fd/{own}", "r+b").close(),
    "connect by name": lambda to, own: connect(socket.AF_UNIX, to),
    "connect by number": lambda to, own: connect(socket.AF_INET, ("127.0.0.1", int(to))),
    "become another program": lambda to, own: os.execv("/bin/true", ["true"]),
    "start a program": lambda to, own: subprocess.run(["true"]),
    "fork": lambda to, own: os._exit(0) if os.fork() == 0 else None,
    "signal": lambda to, own: os.kill(int(to), 0),
    "signal by descriptor": lambda to, own: checked(libc.syscall(434, int(to), 0)),
    "have its input signal": lambda to, own: checked(libc.fcntl(own, 8, int(to))),
    "trace": lambda to, own: checked(libc.ptrace(16, int(to), 0, 0)),
    "read memory": lambda to, own: checked(libc.process_vm_readv(int(to), BUFFER, 0, BUFFER, 0, 0)),
    "raise the limits of": lambda to, own: checked(libc.prlimit(int(to), 7, None, BUFFER)),
    "slow down": lambda to, own: os.setpriority(os.PRIO_PROCESS, int(to), 19),
    "mount": lambda to, own: checked(libc.mount(b"none", b"/", None, 1 << 19, None)),
    "leave its namespace": lambda to, own: checked(libc.unshare(0x10000000)),
    "io_uring": lambda to, own: checked(libc.syscall(425, 1, BUFFER)),
    "bpf": lambda to, own: checked(libc.syscall(321, 0, BUFFER, 64)),
}
HUGE = (0xFFFFFFFF).to_bytes(4, "big")
LIES = {
    "huge frame": lambda: says(HUGE, b"x"),
    "long frame": lambda: says((15 << 20).to_bytes(4, "big"), b"x" * 100) or os._exit(0),
    "no frame": lambda: says(b"x"),
    "no message": lambda: says((4).to_bytes(4, "big"), b"\\xc1" * 4),
    "more frames": lambda: says((1).to_bytes(4, "big") + b"x"),
    "other size": lambda: [Picture(77, 8, 8, b"\\xff\\xd8\\xff")],
    "size twice": lambda: [Picture(150, 8, 8, b"\\xff\\xd8\\xff")] * 2,
    "no picture": lambda: [Picture(150, 8, 8, b"<script>"), Picture(300, 8, 8, b"")],
    "enlarged": lambda: [Picture(150, 151, 8, b"\\xff\\xd8\\xff"), Picture(300, 8, 8, b"\\xff\\xd8\\xff")],
}
KINDS = {
    "path": ("image/x-hostile", "/../../x"),
    "type": ("text/html\\r\\nX: y", ".jpg"),
}

class Hostile:
    name = "hostile"
    order = 0

    def sniff(self, head, size):
        return Sniffed("image/x-hostile", ".odd") if head.startswith(b"hostile") else None

    def inspect(self, source, sniffed, max_pixels):
        _, what, _ = source.head.decode().split("|")
        return Inspected(Identified(AssetType.PHOTO, *KINDS[what]))

    def render(self, source, sniffed, recipe):
        _, what, to = source.head.decode().split("|")
        if what in LIES:
            return Rendering(tuple(LIES[what]() or ()))
        try:
            ATTEMPTS[what](to, source.file.fileno())
        except OSError as error:
            raise Permanent(str(error), code="denied")
        raise Permanent("done", code="done")
"""

HAS_LANDLOCK, HAS_FILTER = bool(landlock.version()), seccomp.is_offered()
needs_landlock = pytest.mark.skipif(not HAS_LANDLOCK, reason="this kernel has no landlock")
needs_filter = pytest.mark.skipif(not HAS_FILTER, reason="this kernel or machine has no filter of system calls")
needs_one = pytest.mark.skipif(not (HAS_LANDLOCK or HAS_FILTER), reason="this kernel has neither")


@pytest.fixture
def types(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    (tmp_path / "hostile_type.py").write_text(HOSTILE)
    monkeypatch.syspath_prepend(tmp_path)
    return ["hostile_type:Hostile", "lumiliod.media.photo:Photo"]


def good(path: Path) -> str:
    Image.new("RGB", (640, 480), (10, 200, 30)).save(path, "JPEG")
    return str(path)


async def answer(media: Media, folder: Path, what: str, to: object = "") -> Permanent:
    """Return what becomes of a file that tries ``what``; a good one after it is drawn as ever."""
    path = folder / "hostile"
    path.write_text(f"hostile|{what}|{to}")
    with pytest.raises(Permanent) as raised:
        await media.thumbnails(str(path), (150, 300))
    [picture] = (await media.thumbnails(good(folder / "good"), (150,))).pictures
    assert picture.data.startswith(b"\xff\xd8\xff")
    return raised.value


@needs_one
async def test_no_file_is_within_reach(types: list[str], tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_bytes(b"private")
    other.chmod(0o600)
    (tmp_path / "into").mkdir()
    held = os.open(other, os.O_RDONLY)
    socket_path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(socket_path))
        listener.listen()
        async with opened(MediaSettings(workers=1), types) as media:
            tried: list[tuple[str, object]] = [
                ("write", other), ("write", tmp_path / "new"), ("write", tmp_path / "into" / "150.jpg"),
                ("write", "/tmp/lumilio-hostile"), ("make a folder", tmp_path / "new"), ("remove", other),
                ("link", tmp_path / "new"), ("write the original", ""), ("open the original to write", ""),
            ]  # fmt: skip
            if HAS_FILTER:
                tried += [("change the mode", other), ("change its mode", ""), ("change its time", "")]
                tried += [("connect by name", socket_path)]
            if HAS_LANDLOCK:
                tried += [("read", path) for path in ("/etc/passwd", other, f"/proc/{os.getpid()}/fd/{held}")]
                tried += [("read", f"/proc/{os.getpid()}/environ"), ("read", tmp_path / "good")]
            for what, to in tried:
                assert (await answer(media, tmp_path, what, to)).code == "denied", (what, to)
            [pid] = media.pids
        assert pid
    os.close(held)
    assert other.read_bytes() == b"private"
    assert other.stat().st_mode & 0o777 == 0o600


@needs_filter
async def test_no_process_and_no_network_is_within_reach(types: list[str], tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        async with opened(MediaSettings(workers=1), types) as media:
            first = (await answer(media, tmp_path, "write the original"), media.pids)[1]
            for what, to in (
                ("connect by number", listener.getsockname()[1]), ("become another program", ""),
                ("start a program", ""), ("fork", ""), ("signal", os.getpid()), ("signal by descriptor", os.getpid()),
                ("have its input signal", os.getpid()), ("trace", os.getpid()), ("read memory", os.getpid()),
                ("raise the limits of", os.getpid()), ("slow down", os.getpid()), ("mount", ""),
                ("leave its namespace", ""), ("io_uring", ""), ("bpf", ""),
            ):  # fmt: skip
                assert (await answer(media, tmp_path, what, to)).code == "denied", what
            assert media.pids == first  # each was refused; nothing ended


@pytest.mark.parametrize(
    "lie",
    ["huge frame", "long frame", "no frame", "no message", "other size", "size twice", "no picture", "enlarged"],
)
async def test_what_a_worker_says_is_not_believed(types: list[str], tmp_path: Path, lie: str) -> None:
    async with opened(MediaSettings(workers=1, wall_limit_s=5), types) as media:
        assert (await answer(media, tmp_path, lie)).code == "poison"


async def test_what_a_worker_says_unasked_is_for_no_other_file(types: list[str], tmp_path: Path) -> None:
    async with opened(MediaSettings(workers=1), types) as media:
        assert (await answer(media, tmp_path, "more frames")).code == "poison"


@pytest.mark.parametrize("kind", ["path", "type"])
async def test_what_a_file_is_said_to_be_is_checked(types: list[str], tmp_path: Path, kind: str) -> None:
    path = tmp_path / "hostile"
    path.write_text(f"hostile|{kind}|")
    async with opened(MediaSettings(workers=1), types) as media:
        with pytest.raises(Permanent) as raised:
            await media.identify(str(path))
        assert raised.value.code == "poison"
        assert (await media.identify(good(tmp_path / "good"))).width == 640


async def test_nothing_is_inherited_and_what_is_in_force_is_told(types: list[str], tmp_path: Path) -> None:
    async with opened(MediaSettings(workers=1), types) as media:
        offered = media.protections
        await media.identify(good(tmp_path / "good"))
        assert media.tools["sandbox"] == media.protections
        assert set(offered.split(", ")) <= set(media.protections.split(", "))
        assert (media.unprotected is None) == (HAS_LANDLOCK and HAS_FILTER)
        [pid] = media.pids
        links = {os.readlink(link) for link in Path(f"/proc/{pid}/fd").iterdir()}
        assert {link.partition(":")[0] for link in links} == {"/dev/null", "socket"}
        status = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        assert int(status["CapEff"].strip(), 16) == int(status["CapPrm"].strip(), 16) == 0
        assert status["NoNewPrivs"].strip() == "1"
        assert os.getpriority(os.PRIO_PROCESS, pid) == confinement.NICENESS
        autogroup = Path(f"/proc/{pid}/autogroup")
        if autogroup.exists() and (told := autogroup.read_text().split()):
            assert int(told[-1]) == confinement.NICENESS
        if platform.machine() == "x86_64":
            assert ctypes.CDLL(None).syscall(252, 1, pid) == 2 << 13 | 7  # ioprio_get
        assert status["Umask"].strip() == "0077"
        if HAS_FILTER:
            assert status["Seccomp"].strip() == "2"


@needs_filter
@pytest.mark.parametrize("deed", ["open({!r}, 'w')", "__import__('os').mkdir({!r} + 'x')", "__import__('os').fork()"])
def test_the_filter_alone_keeps_from_writing(tmp_path: Path, deed: str) -> None:
    """On a kernel without landlock."""
    assert b"PermissionError" in done_under("seccomp.enforce()", deed.format(str(tmp_path / "new")))
    assert not list(tmp_path.iterdir())


@needs_landlock
@pytest.mark.parametrize("deed", ["open({!r}, 'w')", "__import__('os').mkdir({!r} + 'x')", "open('/etc/passwd')"])
def test_landlock_alone_keeps_from_files(tmp_path: Path, deed: str) -> None:
    """On a machine without a filter."""
    assert b"PermissionError" in done_under("landlock.enforce([])", deed.format(str(tmp_path / "new")))
    assert not list(tmp_path.iterdir())


def done_under(protection: str, deed: str) -> bytes:
    """Return what Python says of a deed under one protection."""
    script = (
        "import ctypes, traceback; from lumiliod.media import confinement, landlock, seccomp; "
        f"ctypes.CDLL(None).prctl(38, 1, 0, 0, 0); {protection}; {deed}"
    )
    return subprocess.run([sys.executable, "-c", script], stderr=subprocess.PIPE, check=False).stderr


HEADERS = {
    "x86_64": Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
    "aarch64": Path("/usr/include/asm-generic/unistd.h"),
}


@pytest.mark.parametrize("machine", list(HEADERS))
def test_numbers_are_those_of_the_kernel(machine: str) -> None:
    if not HEADERS[machine].exists():
        pytest.skip("the kernel's headers are not installed")
    defined = dict(re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)$", HEADERS[machine].read_text(), re.MULTILINE))
    column = list(HEADERS).index(machine)
    ours = {name: numbers[column] for name, numbers in seccomp.SYSCALLS.items()}
    assert ours == {name: int(defined[name]) if name in defined else None for name in ours}


@pytest.mark.parametrize("machine", list(HEADERS))
def test_the_filter_jumps_within_itself(machine: str) -> None:
    code = seccomp.program(machine, 1)
    assert len(code) % 8 == 0
    lines = [code[at : at + 8] for at in range(0, len(code), 8)]
    assert len(lines) <= 4096
    for at, line in enumerate(lines):
        if line[0] & 7 == 5:  # BPF_JMP
            assert at + 1 + max(line[2], line[3]) < len(lines)
    assert lines[-1][0] & 7 == 6  # BPF_RET


@pytest.fixture
def hung(tmp_path: Path) -> object:
    """A folder of a disk that never answers: a file system in user space with nobody behind it."""
    libc = ctypes.CDLL(None, use_errno=True)
    folder = tmp_path / "hung"
    folder.mkdir()
    try:
        device = os.open("/dev/fuse", os.O_RDWR)
    except OSError:
        pytest.skip("no file system in user space")
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0".encode()
    if libc.mount(b"hung", os.fsencode(folder), b"fuse", 0, options):
        os.close(device)
        pytest.skip("nothing may be mounted here")
    try:
        yield folder
    finally:
        os.close(device)
        libc.umount2(os.fsencode(folder), 2)


async def test_a_hung_disk_holds_up_its_own_files_only(hung: Path, tmp_path: Path) -> None:
    async with opened(MediaSettings(workers=1, wall_limit_s=1.0)) as media, trio.open_nursery() as nursery:
        path = good(tmp_path / "good")
        await media.identify(path)

        async def wait() -> None:
            with pytest.raises(Retryable) as raised:
                await media.identify(str(hung / "file"))
            assert raised.value.code == "stalled"

        nursery.start_soon(wait)
        await trio.sleep(0.1)
        began = trio.current_time()
        assert (await media.identify(path)).width == 640
        assert trio.current_time() - began < 0.5
