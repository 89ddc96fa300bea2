"""A world: one repository with a user area, and what was done to it as far as it was acknowledged."""

import random
import threading
from collections import Counter
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from uuid import UUID

import blake3
from PIL import Image

NAME = "bench"
FOREIGN = 200
"""Files of the user area."""
COMMENT_MAX_BYTES = 65_533
"""Of a comment in a JPEG file."""

Foreign = dict[str, tuple[str, int, int]]
"""Digest, mode and time by path."""


@dataclass
class World:
    """What was done, as far as it was acknowledged.

    A digest is ``purging`` from the moment a person asks for that, and ``purged`` once it was promised.
    """

    root: Path
    disk: Path
    rng: random.Random
    picture: bytes
    number: int = 0
    acknowledged: set[str] = field(default_factory=set[str])
    purging: set[str] = field(default_factory=set[str])
    purged: set[str] = field(default_factory=set[str])
    counts: Counter[str] = field(default_factory=Counter[str])
    refused: Counter[str] = field(default_factory=Counter[str])
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def folder(self) -> Path:
        """The repository."""
        return self.disk / "library"

    @property
    def kept(self) -> int:
        """How many uploaded originals the library should have, in the trash or not."""
        with self.lock:
            return len(self.acknowledged) - len(self.purged)

    def photograph(self, extra_bytes: int = 0) -> tuple[bytes, str]:
        """Return a picture whose bytes were never seen before, and its digest: a comment makes it unique."""
        with self.lock:
            self.number += 1
            comment = f"{self.number} {self.rng.random()}".encode()
        parts = [self.picture[:2]]
        while comment or extra_bytes > 0:
            comment = comment.ljust(min(extra_bytes, COMMENT_MAX_BYTES), b".")
            parts += [b"\xff\xfe", (len(comment) + 2).to_bytes(2, "big"), comment]
            extra_bytes -= len(comment)
            comment = b""
        content = b"".join([*parts, self.picture[2:]])
        return content, blake3.blake3(content).hexdigest()

    def accept(self, digest: str) -> None:
        """Take down that the library has said it keeps these bytes."""
        with self.lock:
            self.acknowledged.add(digest)

    def count(self, name: str, number: int = 1) -> None:
        """Take down that something was done."""
        with self.lock:
            self.counts[name] += number

    def trashed(self, file_id: UUID) -> Path:
        """Return where a file of the trash lies."""
        folder = self.folder / ".lumilio" / "trash"
        found = [path for path in folder.rglob(f"{file_id}*") if path.suffix != ".json"]
        return found[0] if found else folder / str(file_id)

    def fill_user_area(self) -> None:
        """Put foreign files into the user area."""
        for number in range(FOREIGN):
            folder = self.folder / "Photos" / f"{number % 10}"
            folder.mkdir(parents=True, exist_ok=True)
            content = self.photograph()[0] if number % 3 else random.Random(number).randbytes(1000)
            (folder / f"IMG {number}.{'jpg' if number % 3 else 'dat'}").write_bytes(content)

    def foreign(self) -> Foreign:
        """Return what is in the user area."""
        found = {}
        for path in (self.folder / "Photos").rglob("*"):
            if path.is_file():
                stat = path.stat()
                digest = blake3.blake3(path.read_bytes()).hexdigest()
                found[str(path)] = (digest, stat.st_mode, stat.st_mtime_ns)
        return found


def picture(seed: int) -> bytes:
    """Return a small photograph."""
    out = BytesIO()
    noise = random.Random(seed).randbytes(16 * 12 * 3)
    Image.frombytes("RGB", (16, 12), noise).resize((160, 120)).save(out, "JPEG", quality=70)
    return out.getvalue()
