"""Measure how fast one large file is taken, against copying and hashing it by hand.

The **bound** is ``cp`` and then BLAKE3 of the copy, on all cores (what ``b3sum`` does): nothing less can know
what it has stored. Beside it, the same with the copy flushed to the disk, as an upload is before it is
acknowledged. The **daemon** takes the file over its socket as a form, as the plain body, and by tus in several
requests. All run in turn, several rounds, on the same file; medians are reported, and how much the daemon's
memory grew meanwhile. The last line is one JSON object.

    python bench/upload.py [--mb N] [--rounds N] [--short]
"""

import argparse
import base64
import datetime as dt
import json
import os
import platform
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import blake3

from bench.measuring.machine import cpu_name
from lumiliod.client import Client
from lumiliod.contract.repositories import NewRepository
from scripts.daemon_process import Daemon, end_on_signals, measuring, running

TUS_REQUEST_BYTES = 256 << 20
SAMPLE_S = 0.02
REST_S = 1.0
HASH = "import sys, blake3; blake3.blake3(max_threads=blake3.blake3.AUTO).update_mmap(sys.argv[1]).hexdigest()"
GOAL_RATIO, GOAL_GROWTH_MB = 0.5, 64.0


def main() -> None:
    """Measure and report."""
    end_on_signals()
    parser = argparse.ArgumentParser(description="Measure uploading against cp and b3sum.")
    parser.add_argument(
        "--mb", type=int, default=2000, metavar="N", help="size of the file in millions of bytes (2000)"
    )
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="rounds of all contestants (5)")
    parser.add_argument("--short", action="store_true", help="100 MB, one round: a check, no measurement")
    given = parser.parse_args()
    mb, rounds = (100, 1) if given.short else (given.mb, given.rounds)
    with measuring("upload") as root:
        _measure(root, mb, rounds)


def _measure(root: Path, mb: int, rounds: int) -> None:
    source = root / "film.bin"
    with source.open("wb") as file:
        for _ in range(mb):
            file.write(os.urandom(1_000_000))
        file.flush()
        os.fsync(file.fileno())
    (root / "repo").mkdir()
    walls: dict[str, list[float]] = {}
    growth: dict[str, list[float]] = {}
    with running(root / "state", log=root / "log", scratch=root) as daemon:
        with Client(str(daemon.socket)) as client:
            client.add_repository(NewRepository(path=str(root / "repo"), name="films"))
        senders: dict[str, Callable[[], None]] = {
            "form": lambda: _form(daemon, source),
            "body": lambda: _body(daemon, source),
            "tus": lambda: _tus(daemon, source),
        }
        for number in range(1, rounds + 1):
            for name, flush in (("cp + b3sum", False), ("cp + sync + b3sum", True)):
                _rested()
                walls.setdefault(name, []).append(_copied(source, root / "copy", flush=flush))
            for name, send in senders.items():
                _rested()
                with _memory(daemon) as grown:
                    began = time.perf_counter()
                    send()
                    walls.setdefault(name, []).append(time.perf_counter() - began)
                growth.setdefault(name, []).append(grown[0])
                _settled(daemon, root / "repo")
            print(f"round {number} of {rounds} done", flush=True)
    _report(mb, rounds, walls, growth)


def _rested() -> None:
    """Let the disk end what the one before left to it: what was written, and what was given back."""
    os.sync()
    time.sleep(REST_S)


def _copied(source: Path, target: Path, *, flush: bool) -> float:
    began = time.perf_counter()
    subprocess.run(["cp", str(source), str(target)], check=True)
    if flush:
        subprocess.run(["sync", str(target)], check=True)
    subprocess.run([sys.executable, "-c", HASH, str(target)], check=True)
    wall_s = time.perf_counter() - began
    target.unlink()
    return wall_s


def _form(daemon: Daemon, source: Path) -> None:
    edge = "lumilio-bench"
    head = (
        f'--{edge}\r\nContent-Disposition: form-data; name="file"; filename="film.bin"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    ).encode()
    tail = f"\r\n--{edge}--\r\n".encode()
    headers = {"Content-Type": f"multipart/form-data; boundary={edge}"}
    _send(daemon, "POST", "/assets", headers, source, 0, source.stat().st_size, 202, head, tail)


def _body(daemon: Daemon, source: Path) -> None:
    headers = {"Content-Type": "application/octet-stream", "X-Filename": "film.bin"}
    _send(daemon, "POST", "/assets", headers, source, 0, source.stat().st_size, 202)


def _tus(daemon: Daemon, source: Path) -> None:
    size_bytes = source.stat().st_size
    told = {
        "Tus-Resumable": "1.0.0",
        "Upload-Length": str(size_bytes),
        "Upload-Metadata": f"filename {base64.b64encode(b'film.bin').decode()}",
    }
    place = _send(daemon, "POST", "/uploads", told, source, 0, 0, 201)["location"].removeprefix("/api/v1")
    for offset in range(0, size_bytes, TUS_REQUEST_BYTES):
        headers = {
            "Tus-Resumable": "1.0.0",
            "Content-Type": "application/offset+octet-stream",
            "Upload-Offset": str(offset),
        }
        count = min(TUS_REQUEST_BYTES, size_bytes - offset)
        _send(daemon, "PATCH", place, headers, source, offset, count, 204)


def _send(
    daemon: Daemon,
    method: str,
    path: str,
    headers: dict[str, str],
    source: Path,
    offset: int,
    count: int,
    expected: int,
    head: bytes = b"",
    tail: bytes = b"",
) -> dict[str, str]:
    """Send a piece of a file by sendfile(2), which leaves the cores to the daemon; return the answer's headers."""
    length = len(head) + count + len(tail)
    told = {"Host": "lumilio", "Connection": "close", "Content-Length": str(length), **headers}
    lines = "".join(f"{name}: {value}\r\n" for name, value in told.items())
    with socket.socket(socket.AF_UNIX) as connection, source.open("rb") as file:
        connection.connect(str(daemon.socket))
        connection.sendall(f"{method} /api/v1{path} HTTP/1.1\r\n{lines}\r\n".encode() + head)
        if count:
            connection.sendfile(file, offset, count)
        connection.sendall(tail)
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
    first, *rest = answer.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
    if first.split()[1] != str(expected):
        raise RuntimeError(f"{method} {path}: {answer.decode('latin-1')}")
    return {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in rest)}


@contextmanager
def _memory(daemon: Daemon) -> Iterator[list[float]]:
    """Hand out a list that holds, at the end, by how many MB (10^6) the daemon's resident set grew at most."""
    grown = [0.0]
    before = _rss_mb(daemon)
    over = threading.Event()

    def watch() -> None:
        while not over.wait(SAMPLE_S):
            grown[0] = max(grown[0], _rss_mb(daemon) - before)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield grown
    finally:
        over.set()
        watcher.join()


def _rss_mb(daemon: Daemon) -> float:
    pages = int(Path(f"/proc/{daemon.process.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def _settled(daemon: Daemon, repo: Path) -> None:
    """Wait until the upload was looked at and refused, for it is no film; then forget its bytes."""
    failed = repo / ".lumilio" / "staging" / "failed"
    give_up_at = time.monotonic() + 60
    while not any(failed.glob("*.reason.json")):
        daemon.check()
        if time.monotonic() > give_up_at:
            raise RuntimeError("an upload is not looked at")
        time.sleep(0.05)
    with Client(str(daemon.socket)) as client:
        while client.status().open_jobs:
            time.sleep(0.05)
    for path in failed.iterdir():
        path.unlink()
    for path in (repo / ".lumilio" / "staging" / "incoming").iterdir():
        path.unlink()


def _report(mb: int, rounds: int, walls: dict[str, list[float]], growth: dict[str, list[float]]) -> None:
    rates = {name: mb / statistics.median(seen) for name, seen in walls.items()}
    grown = {name: max(seen) for name, seen in growth.items()}
    print(f"\n{'':20}{'MB/s':>8}{'of cp + b3sum':>15}{'memory +MB':>12}")
    for name, rate in rates.items():
        memory = f"{grown[name]:12.1f}" if name in grown else ""
        print(f"{name:20}{rate:8.0f}{rate / rates['cp + b3sum']:15.2f}{memory}")
    ratio = min(rates[name] for name in ("form", "tus")) / rates["cp + b3sum"]
    durable = min(rates[name] for name in ("form", "tus")) / rates["cp + sync + b3sum"]
    print(
        json.dumps(
            {
                "bench": "upload",
                "date": dt.datetime.now(dt.UTC).date().isoformat(),
                "mb": mb,
                "rounds": rounds,
                "ratio_to_cp_b3sum": round(ratio, 3),
                "ratio_to_cp_sync_b3sum": round(durable, 3),
                "daemon_rss_growth_mb": round(max(grown.values()), 1),
                "mb_per_s": {name: round(rate, 1) for name, rate in rates.items()},
                "growth_mb": {name: round(value, 1) for name, value in grown.items()},
                "machine": {
                    "cores": len(os.sched_getaffinity(0)),
                    "cpu": cpu_name(),
                    "python": platform.python_version(),
                    "blake3": blake3.__version__,
                },
                "goals_met": ratio >= GOAL_RATIO and max(grown.values()) <= GOAL_GROWTH_MB,
            }
        )
    )


if __name__ == "__main__":
    main()
