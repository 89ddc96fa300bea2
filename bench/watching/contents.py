"""What files hold: pictures unlike each other, texts, nothing; and what they are called."""

import io
import random
from dataclasses import dataclass

from blake3 import blake3
from PIL import Image

KNOWN = 300
"""Pictures that come again and again."""
FRESH = 0.15
"""The share of contents that nobody has seen before."""

_FOLDERS = (b"day %d", b"Urlaub \xc3\xbc %d", b"caf\xe9 %d", b"nfd u\xcc\x88 %d", b"new\nline %d", b"%d")
_OUT_FOLDERS = (b"@eaDir", b".hidden %d", b"cache.tmp")
_FILES = (
    b"IMG_%04d.jpg", b"IMG_%04d.JPG", b"\xe4\xf6 %d.jpg", b"a %d.png", b"\xf0\x9f\x8c\x84 %d.jpeg", b"no ending %d",
)  # fmt: skip
_OTHERS = (b"IMG_%04d.xmp", b"IMG_%04d.jpg.xmp", b"notes %d.txt", b"\xff%d.dat", b"IMG_%04d.jpg.json")
_OUT_FILES = (b".hidden %d.jpg", b"IMG_%04d.jpg.part", b"~$%d.doc", b"Thumbs.db", b"a %d.tmp")


@dataclass(frozen=True, slots=True)
class Content:
    """Bytes, and their BLAKE3 as hex."""

    data: bytes
    digest: str

    @property
    def is_picture(self) -> bool:
        """Tell whether it is one."""
        return is_picture(self.data)


def is_picture(data: bytes) -> bool:
    """Tell whether these bytes are a picture's, of those made here."""
    return data.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"))


class Contents:
    """Makes contents and names from a seed."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._number = 0
        self._bases = [_picture(rng, kind) for kind in ("JPEG", "PNG", "JPEG", "JPEG")]
        self._known = [self.picture() for _ in range(KNOWN)]

    def any(self) -> Content:
        """Return a picture that is known, one that is new, or something else."""
        lot = self._rng.random()
        if lot < 0.1:
            return self.other()
        return self.picture() if lot < 0.1 + FRESH else self._rng.choice(self._known)

    def other(self) -> Content:
        """Return what is no picture."""
        self._number += 1
        return _content(b"" if self._rng.random() < 0.1 else b"text %d\n" % self._number)

    def file_name(self) -> bytes:
        """Return what a file may be called."""
        lot = self._rng.random()
        names = _OUT_FILES if lot < 0.05 else _OTHERS if lot < 0.15 else _FILES
        return self._filled(self._rng.choice(names))

    def folder_name(self) -> bytes:
        """Return what a folder may be called."""
        return self._filled(self._rng.choice(_OUT_FOLDERS if self._rng.random() < 0.04 else _FOLDERS))

    def _filled(self, name: bytes) -> bytes:
        return name % self._rng.randrange(400) if b"%" in name else name

    def picture(self) -> Content:
        """Return a picture that nobody has seen before."""
        self._number += 1
        base = self._rng.choice(self._bases)
        # behind a picture's end nobody looks
        return _content(base + b"%08d" % self._number + b"." * self._rng.randrange(300))


def _content(data: bytes) -> Content:
    return Content(data, blake3(data).hexdigest())


def _picture(rng: random.Random, kind: str) -> bytes:
    out = io.BytesIO()
    Image.frombytes("RGB", (12, 12), rng.randbytes(12 * 12 * 3)).save(out, kind)
    return out.getvalue()
