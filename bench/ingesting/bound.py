"""The bound: the work that nobody can avoid, done by a plain pool of processes without any code of this project.

Each step in the cheapest way that is known: decoded in the smallest size that is large enough, scaled by halves and an
interpolation, in memory that is kept from picture to picture.
"""

import ctypes
import json
import multiprocessing
import os
import subprocess
import time
from collections.abc import Callable
from multiprocessing.pool import Pool
from multiprocessing.util import Finalize
from pathlib import Path
from typing import Any

import blake3
import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray

from bench.ingesting.rounds import Round
from bench.measuring import process_tree
from bench.measuring.machine import cores, exiftool_version

SIZES = (1024, 300, 150)
QUALITY = 80
EXIFTOOL_BATCH = 16
KEPT_BYTES = 32 << 20
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
EXIFTOOL = ("-json", "-n", "-G1", "-fast", "-api", "QuickTimeUTC=1")


def measure(folder: Path) -> Round:
    """Do the unavoidable work on all cores, with exiftool where it is there; the clock starts with a warm pool."""
    with_exiftool = exiftool_version() is not None
    paths = sorted(str(path) for path in folder.glob("*.JPG"))
    batches = [paths[start : start + EXIFTOOL_BATCH] for start in range(0, len(paths), EXIFTOOL_BATCH)]
    work: list[tuple[Callable[..., Any], Any]] = [(_understand, path) for path in paths]
    with multiprocessing.get_context("spawn").Pool(cores(), _begin, (with_exiftool,)) as pool:
        pool.map(_understand, paths[: cores()], chunksize=1)
        if with_exiftool:
            pool.map(_read_tags, [[path] for path in paths[: cores()]], chunksize=1)
            work = [*[(_read_tags, batch) for batch in batches], *work]  # the longest first: none is left over
        before = process_tree.cpu_s(os.getpid())
        began = time.perf_counter()
        for done in [pool.apply_async(fn, (item,)) for fn, item in work]:
            done.get()
        wall_s = time.perf_counter() - began
        cpu_s = process_tree.cpu_s(os.getpid()) - before
        _end(pool)
    return Round(wall_s, cpu_s)


def _end(pool: Pool) -> None:
    pool.close()
    pool.join()


_exiftool: "list[subprocess.Popen[bytes]]" = []


def _begin(with_exiftool: bool) -> None:
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES)
        mallopt(_M_MMAP_THRESHOLD, KEPT_BYTES)
    cv2.setNumThreads(1)
    if with_exiftool:
        command = ["exiftool", "-stay_open", "True", "-@", "-"]
        _exiftool.append(
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        )
        Finalize(None, _end_exiftool, exitpriority=10)


def _end_exiftool() -> None:
    for process in _exiftool:
        process.kill()
        process.wait()


def _understand(path: str) -> None:
    content = Path(path).read_bytes()
    blake3.blake3(content).hexdigest()
    picture = np.asarray(simplejpeg.decode_jpeg(content, colorspace="RGB", min_width=SIZES[0]), np.uint8)
    for size in SIZES:
        picture = _scaled(picture, size)
        simplejpeg.encode_jpeg(picture, quality=QUALITY, colorspace="RGB", colorsubsampling="420")


def _scaled(picture: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    height, width = picture.shape[:2]
    wanted = (size, round(height * size / width))
    while picture.shape[1] >= 2 * size:
        half = (picture.shape[1] // 2, picture.shape[0] // 2)
        picture = np.asarray(cv2.resize(picture, half, interpolation=cv2.INTER_AREA), np.uint8)
    near = cv2.INTER_CUBIC if picture.shape[1] < 1.5 * size else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(picture, wanted, interpolation=near), np.uint8)


def _read_tags(paths: list[str]) -> None:
    (process,) = _exiftool
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("\n".join([*EXIFTOOL, *paths, "-execute", ""]).encode())
    process.stdin.flush()
    answer = b""
    while not answer.endswith(b"{ready}\n"):
        answer += process.stdout.readline()
    assert len(json.loads(answer.removesuffix(b"{ready}\n"))) == len(paths)
