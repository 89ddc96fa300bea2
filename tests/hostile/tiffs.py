"""Hostile TIFF files, and RAW files with nothing behind their headers."""

import random
import struct

from tests.hostile.parts import BOUNDED, BROKEN, Hostile, Make, behind_tiff, box, deflated_zeros, hostile, tiff


def _strips(
    width: int, height: int, compression: int, more: list[tuple[int, int, int, int]]
) -> list[tuple[int, int, int, int]]:
    return [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, compression), (262, 3, 1, 1), *more]


def tiff_of_huge_strips(rng: random.Random) -> Hostile:
    more = [(273, 4, 1, 8), (277, 3, 1, 1), (278, 4, 1, 2**32 - 1), (279, 4, 1, 2**32 - 1)]
    side = rng.randrange(20_000, 31_000)
    content = tiff(_strips(side, side, rng.choice([1, 5, 8, 32773]), more), behind=bytes(100))
    return hostile("strips.tif", content, f"TIFF of {side} x {side} in one strip of 4 GiB that is not there", BOUNDED)


def tiff_of_many_strips(rng: random.Random) -> Hostile:
    count = 2**31 - rng.randrange(1, 99)
    more = [(273, 4, count, 8), (277, 3, 1, 1), (278, 4, 1, 1), (279, 4, count, 8)]
    content = tiff(_strips(60_000, 15_000, 1, more), behind=bytes(100))
    return hostile("counts.tif", content, "TIFF of 2^31 strips", BOUNDED)


def tiff_of_many_tiles(rng: random.Random) -> Hostile:
    count = 30_000 * 30_000 // 256
    more = [
        (277, 3, 1, 1),
        (322, 4, 1, 16),
        (323, 4, 1, 16),
        (324, 4, count, 8),
        (325, 4, count, 8 + rng.randrange(99)),
    ]
    return hostile(
        "tiles.tif", tiff(_strips(30_000, 30_000, 7, more)), "TIFF of 3.5 million tiles in one place", BOUNDED
    )


def tiff_bomb(rng: random.Random) -> Hostile:
    side = rng.randrange(25_000, 31_000)
    data = deflated_zeros(side * side)
    more = [(273, 4, 1, behind_tiff(9)), (277, 3, 1, 1), (278, 4, 1, side), (279, 4, 1, len(data))]
    content = tiff(_strips(side, side, 8, more), behind=data)
    return hostile("bomb.tif", content, f"TIFF of {side} x {side} pixels, deflated to little", BOUNDED)


def tiff_loop(rng: random.Random) -> Hostile:
    offset = behind_tiff(9)
    more = [(273, 4, 1, offset), (277, 3, 1, 1), (278, 4, 1, 64), (279, 4, 1, 4096)]
    content = tiff(_strips(64, 64, 1, more), following=8, behind=rng.randbytes(4096))
    return hostile("loop.tif", content, "TIFF whose directory is followed by itself", BOUNDED)


def tiff_of_floats(rng: random.Random) -> Hostile:
    offset = behind_tiff(10)
    entries = [
        (256, 4, 1, 64), (257, 4, 1, 64), (258, 3, 1, 32), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1, offset),
        (277, 3, 1, 1), (278, 4, 1, 64), (279, 4, 1, 16_384), (339, 3, 1, 3),
    ]  # fmt: skip
    values = struct.pack("<4096f", *rng.choices([float("nan"), float("inf"), -float("inf"), -1e30, 1e30], k=4096))
    return hostile("nan.tif", tiff(entries, behind=values), "TIFF of floats that are no numbers", BOUNDED)


RAW = {b"NIKON CORPORATION": ".nef", b"SONY": ".arw", b"PENTAX": ".pef", b"SAMSUNG": ".srw", b"Hasselblad": ".3fr"}


def raw_stub(rng: random.Random) -> Hostile:
    maker = rng.choice(sorted(RAW))
    side = rng.randrange(4000, 30_000)
    offset = behind_tiff(10)
    entries = [
        (256, 4, 1, side), (257, 4, 1, side), (258, 3, 1, 14), (259, 3, 1, rng.choice([1, 34713, 32767, 65535])),
        (262, 3, 1, 32803), (271, 2, len(maker) + 1, offset), (273, 4, 1, 8), (277, 3, 1, 1), (278, 4, 1, side),
        (279, 4, 1, 2**31 - 1),
    ]  # fmt: skip
    content = tiff(entries, behind=maker + bytes(9))
    return hostile(f"stub{RAW[maker]}", content, f"RAW of {side} x {side} with nothing behind its header", BROKEN)


def raw_signature(rng: random.Random) -> Hostile:
    signature, extension = rng.choice([
        (b"FUJIFILMCCD-RAW 0201FF383501", ".raf"), (b"IIRO\x08\0\0\0", ".orf"), (b"IIU\0\x08\0\0\0", ".rw2"),
        (b"FOVb\0\0\2\0", ".x3f"), (b"\0MRM\0\0\xff\xff", ".mrw"), (b"II\x1a\0\0\0HEAPCCDR", ".crw"),
        (b"II*\0\x10\0\0\0CR\2\0", ".cr2"), (box(b"ftyp", b"crx \0\0\0\1crx isom"), ".cr3"),
    ])  # fmt: skip
    return hostile(f"noise{extension}", signature + rng.randbytes(20_000), "signature of a RAW, then noise", BROKEN)


TIFFS: tuple[Make, ...] = (
    tiff_of_huge_strips, tiff_of_many_strips, tiff_of_many_tiles, tiff_bomb, tiff_loop, tiff_of_floats, raw_stub,
    raw_signature,
)  # fmt: skip
