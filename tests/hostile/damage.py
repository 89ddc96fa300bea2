"""Damage done to good files of every format, and good ones under odd names."""

import random

from tests.hostile.parts import BROKEN, GOOD, READY, Hostile, Make, good, hostile


def cut(extension: str, percent: int) -> Make:
    """Return a maker of files that end after ``percent`` of them."""

    def make(rng: random.Random) -> Hostile:
        content = good(extension, rng.randrange(1000))
        kept = content[: max(4, len(content) * percent // 100)]
        return hostile(f"cut at {percent:02} %{extension}", kept, f"{extension} that ends after {percent} %", BROKEN)

    return make


def flipped(extension: str) -> Make:
    """Return a maker of files with flipped bits."""

    def make(rng: random.Random) -> Hostile:
        content = bytearray(good(extension, rng.randrange(1000)))
        for _ in range(rng.choice([1, 8, 64])):
            # half of them where the structure is
            at = rng.randrange(len(content) if rng.random() < 0.5 else min(len(content), 512))
            content[at] ^= 1 << rng.randrange(8)
        return hostile(f"flipped{extension}", bytes(content), f"{extension} with flipped bits", BROKEN)

    return make


def zeros(rng: random.Random) -> Hostile:
    content = bytes(rng.randrange(1, 200_000))
    return hostile("zeros" + rng.choice([".jpg", ".mp4", ".cr2"]), content, "nothing but zeros", frozenset({"corrupt"}))


def empty(_rng: random.Random) -> Hostile:
    return hostile("empty.jpg", b"", "no bytes", frozenset({"corrupt"}))


NAMES = (
    b"new\nline.jpg", b"return\r.jpg", b"not utf-8 \xff\xfe.jpg", b"-rf.jpg", b"%s%n%x.jpg",
    b"'; DROP TABLE assets; --.jpg",
    b"$(touch pwned).jpg", b"`id`.jpg", b" blanks .jpg ", b"\xe2\x80\xaegpj.exe.jpg", b"|pipe.jpg", b"@args.jpg",
    b"a" * 251 + b".jpg", b"\x1b[31mred.jpg", b"http:__x.jpg", b"concat:a|b.jpg", b"image%05d.jpg", b"{curly}.jpg",
    b"\x01\x7f.jpg", b"a...jpg",
)  # fmt: skip


def named(name: bytes) -> Make:
    """Return a maker of good pictures of an odd name."""

    def make(rng: random.Random) -> Hostile:
        return Hostile(name, good(".jpg", rng.randrange(2**30)), f"good JPEG named {name!r}", READY)

    return make


DAMAGE: tuple[Make, ...] = (
    empty,
    zeros,
    *(cut(extension, percent) for percent in range(5, 100, 5) for extension in GOOD),
    *(flipped(extension) for extension in GOOD for _ in range(6)),
)
"""Truncations at every twentieth, and bit flips."""
