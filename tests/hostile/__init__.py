"""Hostile files, generated: the same ones for the same seed.

python -m tests.hostile FOLDER [--files N] [--seed N]
"""

import os
import random
import socket
from collections.abc import Iterator
from pathlib import Path

from tests.hostile.damage import DAMAGE, NAMES, named
from tests.hostile.films import FILMS
from tests.hostile.parts import Hostile, Make
from tests.hostile.pictures import PICTURES
from tests.hostile.tiffs import TIFFS

TRIES = 100
"""How often a maker may come up with what is there already."""
IGNORED = frozenset({"ignored"})


def generate(count: int, seed: int) -> Iterator[Hostile]:
    """Yield ``count`` files, no two with the same bytes, in an order of the seed's.

    Half of them are crafted, a twentieth have odd names, the rest are damaged.
    """
    rng = random.Random(seed)
    crafted, names, damage = [*PICTURES, *TIFFS, *FILMS], [named(name) for name in NAMES], list(DAMAGE)
    made: list[Make] = []
    for makers, share in ((crafted, count // 2), (names, min(count // 20, len(names)))):
        rng.shuffle(makers)
        made += (makers * (share // len(makers) + 1))[:share]
    rng.shuffle(damage)
    made += (damage * (count // len(damage) + 1))[: count - len(made)]
    rng.shuffle(made)
    seen: set[bytes | None] = set()
    for number, make in enumerate(made):
        one = next(fresh for fresh in (make(rng) for _ in range(TRIES)) if fresh.content not in seen)
        seen.add(one.content)
        is_odd = one.name in NAMES
        yield one if is_odd else Hostile(b"%04d " % number + one.name, one.content, one.about, one.ends)


def write(folder: Path, files: Iterator[Hostile]) -> list[Hostile]:
    """Write files into an existing folder; return them without their contents."""
    written: list[Hostile] = []
    for one in files:
        assert one.content is not None
        with open(os.path.join(os.fsencode(folder), one.name), "wb") as file:
            file.write(one.content)
        written.append(Hostile(one.name, None, one.about, one.ends))
    return written


def write_irregular(folder: Path) -> list[Hostile]:
    """Write what looks like a photograph by its name and is no regular file."""
    (folder / "link.jpg").symlink_to("/etc/passwd")
    (folder / "loop.jpg").symlink_to("loop.jpg")
    (folder / "above.jpg").symlink_to("..", target_is_directory=True)
    os.mkfifo(folder / "pipe.jpg")
    (folder / "folder.jpg").mkdir()
    irregular = ["link.jpg", "loop.jpg", "above.jpg", "pipe.jpg"]
    with socket.socket(socket.AF_UNIX) as listener:
        back = os.getcwd()
        os.chdir(folder)  # a socket's path is short
        try:
            listener.bind("socket.jpg")
        finally:
            os.chdir(back)
        irregular.append("socket.jpg")
    try:
        os.mknod(folder / "zero.jpg", 0o600 | 0o020000, os.makedev(1, 5))
        irregular.append("zero.jpg")
    except OSError:
        pass  # only root makes devices
    return [Hostile(name.encode(), None, "no regular file", IGNORED) for name in irregular]
