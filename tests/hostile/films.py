"""Hostile films and sounds: lies about durations and sizes, nesting, films that never end."""

import random
import struct

from tests.hostile.parts import (
    BOUNDED,
    BROKEN,
    Hostile,
    Make,
    box,
    element,
    film,
    good,
    hostile,
    slide_show,
    wide_jpeg,
)

FTYP = box(b"ftyp", b"isom\0\0\2\0isommp41")
UNKNOWN_SIZE = b"\x01" + b"\xff" * 7
EBML, SEGMENT, CLUSTER, TAGS, TAG = (
    b"\x1aE\xdf\xa3",
    b"\x18S\x80g",
    b"\x1f\x43\xb6\x75",
    b"\x12\x54\xc3\x67",
    b"\x73\x73",
)

# MP4


def mp4_lying_about_time(rng: random.Random) -> Hostile:
    content = bytearray(good(".mp4", rng.randrange(9)))
    duration = rng.choice([0, 1, 2**31 - 1, 2**32 - 1])
    for name, offset in ((b"mvhd", 20), (b"tkhd", 24), (b"mdhd", 20)):
        at = content.index(name) + offset
        content[at : at + 4] = struct.pack(">I", duration)
    return hostile("time.mp4", bytes(content), f"MP4 that says it is {duration} units long", BROKEN)


def mp4_of_odd_boxes(rng: random.Random) -> Hostile:
    content = bytearray(good(rng.choice([".mp4", ".fragmented.mp4", ".mov"]), rng.randrange(9)))
    name = rng.choice(
        [name for name in (b"moov", b"trak", b"stbl", b"stsd", b"mvhd", b"mdat", b"mdia") if name in content]
    )
    at = content.index(name)
    size = rng.choice([0, 1, 7, 8, 2**31, 2**32 - 1])
    content[at - 4 : at] = struct.pack(">I", size)
    return hostile("boxes.mp4", bytes(content), f"MP4 whose {name.decode()} says it has {size} bytes", BROKEN)


def mp4_of_nested_boxes(rng: random.Random) -> Hostile:
    depth, name = rng.randrange(20_000, 60_000), rng.choice([b"moov", b"udta", b"meta", b"moof"])
    sizes = range(8 * depth, 0, -8)
    boxes = b"".join(struct.pack(">I", size) + name for size in sizes)
    return hostile("nested.mp4", FTYP + boxes, f"MP4 of {depth} boxes {name.decode()} in each other", BROKEN)


def mp4_of_many_boxes(rng: random.Random) -> Hostile:
    name = rng.choice([b"trak", b"free", b"moof", b"uuid"])
    inner = box(name, rng.randbytes(16) if name == b"uuid" else b"") * 100_000
    content = FTYP + (box(b"moov", inner) if name == b"trak" else inner)
    return hostile("many.mp4", content, f"MP4 of 100000 boxes {name.decode()}", BROKEN)


def mp4_of_lying_tables(rng: random.Random) -> Hostile:
    content = bytearray(good(".mp4", rng.randrange(9)))
    for name in rng.sample([b"stts", b"stsc", b"stsz", b"stco", b"stss"], 3):
        if name in content:
            at = content.index(name) + (12 if name == b"stsz" else 8)
            content[at : at + 4] = struct.pack(">I", rng.choice([2**32 - 1, 2**28, 0]))
    return hostile("tables.mp4", bytes(content), "MP4 whose tables say they have 2^32 entries", BROKEN)


def mp4_of_one_frame_forever(rng: random.Random) -> Hostile:
    frame = wide_jpeg(rng, 12_000, 12_000)
    count = 1_000_000
    matrix = struct.pack(">9I", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
    duration = 2**32 - 1
    mvhd = box(
        b"mvhd",
        struct.pack(">5I", 0, 0, 0, 25, duration) + struct.pack(">IHH8x", 0x10000, 0x100, 0) + matrix + bytes(28),
    )
    tkhd = box(
        b"tkhd", struct.pack(">6I", 7, 0, 0, 1, 0, duration) + bytes(16) + matrix + struct.pack(">II", 12_000 << 16, 0)
    )
    mdhd = box(b"mdhd", struct.pack(">5IHH", 0, 0, 0, 25, duration, 0x55C4, 0))
    hdlr = box(b"hdlr", bytes(8) + b"vide" + bytes(13))
    entry = bytes(6) + struct.pack(">H16xHHII4xH32xHh", 1, 12_000, 12_000, 72 << 16, 72 << 16, 1, 24, -1)
    stsd = box(b"stsd", struct.pack(">II", 0, 1) + box(b"jpeg", entry))
    stts = box(b"stts", struct.pack(">IIII", 0, 1, count, 4000))
    stsc = box(b"stsc", struct.pack(">5I", 0, 1, 1, 1, 1))
    stsz = box(b"stsz", struct.pack(">III", 0, len(frame), count))
    place = len(FTYP) + 8
    stco = box(b"stco", struct.pack(">II", 0, 100) + struct.pack(">I", place) * 100)
    dinf = box(b"dinf", box(b"dref", struct.pack(">II", 0, 1) + box(b"url ", b"\0\0\0\1")))
    minf = box(b"minf", box(b"vmhd", bytes(12)) + dinf + box(b"stbl", stsd + stts + stsc + stsz + stco))
    moov = box(b"moov", mvhd + box(b"trak", tkhd + box(b"mdia", mdhd + hdlr + minf)))
    about = "film of a million frames of 144 megapixels, all of them the same bytes"
    return hostile("forever.mp4", FTYP + box(b"mdat", frame) + moov, about, BOUNDED)


def heif_of_many_items(rng: random.Random) -> Hostile:
    count = 60_000
    entries = b"".join(box(b"infe", struct.pack(">IHH", 0x02000000, n % 65_536, 0) + b"hvc1\0") for n in range(count))
    meta = box(
        b"meta",
        bytes(4) + box(b"hdlr", bytes(8) + b"pict" + bytes(13)) + box(b"iinf", struct.pack(">IH", 0, count) + entries),
    )
    content = box(b"ftyp", b"heic\0\0\0\0mif1heic") + meta + rng.randbytes(99)
    return hostile("items.heic", content, f"HEIC that lists {count} items", BROKEN)


# Matroska


def mkv_of_nested_elements(rng: random.Random) -> Hostile:
    depth = rng.randrange(20_000, 50_000)
    header = element(EBML, element(b"\x42\x82", b"matroska"))
    nested = b"".join(TAG + b"\x08" + struct.pack(">I", 9 * (depth - n))[1:] for n in range(depth))
    return hostile(
        "nested.mkv", header + element(SEGMENT, element(TAGS, nested), UNKNOWN_SIZE), "MKV of nested tags", BROKEN
    )


def mkv_lying(rng: random.Random) -> Hostile:
    content = bytearray(good(".mkv", rng.randrange(9)))
    for _ in range(rng.randrange(1, 6)):
        at = content.index(rng.choice([SEGMENT, CLUSTER])) + 4
        content[at : at + 8] = rng.choice([UNKNOWN_SIZE, b"\x01" + rng.randbytes(7), bytes(8), b"\x01" + bytes(7)])
    return hostile("lying.mkv", bytes(content), "MKV whose elements lie about their sizes", BROKEN)


def mkv_of_many_tags(rng: random.Random) -> Hostile:
    simple = element(b"\x67\xc8", element(b"\x45\xa3", b"TITLE") + element(b"\x44\x87", b"-nan"))
    header = element(EBML, element(b"\x42\x82", b"matroska"))
    content = header + element(SEGMENT, element(TAGS, element(TAG, simple) * rng.randrange(90_000, 110_000)))
    return hostile("tags.mkv", content, "MKV of 100000 tags and nothing else", BROKEN)


def slides(rng: random.Random) -> Hostile:
    format_, extension = rng.choice([("matroska", ".mkv"), ("mov", ".mov"), ("avi", ".avi")])
    frame = wide_jpeg(rng, 4000, 4000)
    content = slide_show(frame, (4000, 4000), rng.randrange(6, 10), format_)
    return hostile(f"slides{extension}", content, "film of frames of 16 megapixels", BOUNDED)


# streams without an index


def endless_stream(rng: random.Random) -> Hostile:
    extension = rng.choice([".ts", ".mpg", ".flv"])
    content = good(extension, rng.randrange(9))
    return hostile(f"endless{extension}", content * rng.randrange(80, 120), "the same second again and again", BROKEN)


def headless_stream(rng: random.Random) -> Hostile:
    content = b"".join(b"\x47" + struct.pack(">H", rng.randrange(0x1FFF)) + rng.randbytes(185) for _ in range(20_000))
    return hostile("noise.ts", content, "transport stream of noise", BROKEN)


def film_without_frames(rng: random.Random) -> Hostile:
    extension, format_ = rng.choice([(".mp4", "mp4"), (".mkv", "matroska"), (".avi", "avi")])
    content = film(rng, format_, frames=1)
    return hostile(f"still{extension}", content + rng.randbytes(9), "film of a single frame", BROKEN)


# sound


def mp3_of_noise(rng: random.Random) -> Hostile:
    frames = b"".join(b"\xff\xfb\x90\x00" + rng.randbytes(413) for _ in range(2000))
    return hostile("noise.mp3", frames, "MP3 of frames with noise in them", BROKEN)


def mp3_of_many_tags(rng: random.Random) -> Hostile:
    frame = b"TXXX" + struct.pack(">IH", 12, 0) + b"\0a\0" + b"-infinity"
    frames = frame * rng.randrange(90_000, 100_000)
    size = len(frames)
    header = b"ID3\3\0\0" + bytes((size >> 21 & 127, size >> 14 & 127, size >> 7 & 127, size & 127))
    return hostile("tags.mp3", header + frames + good(".mp3", rng.randrange(9)), "MP3 of 100000 ID3 frames", BROKEN)


def wav_lying(rng: random.Random) -> Hostile:
    content = bytearray(good(".wav", rng.randrange(9)))
    content[4:8] = content[40:44] = b"\xff" * 4
    content[22:24] = struct.pack("<H", rng.choice([0, 1, 65_535]))
    content[24:28] = struct.pack("<I", rng.choice([0, 1, 2**32 - 1]))
    return hostile("lying.wav", bytes(content), "WAV of 4 GiB of samples that are not there", BROKEN)


def flac_lying(rng: random.Random) -> Hostile:
    content = good(".flac", rng.randrange(9))
    points = b"".join(struct.pack(">QQH", rng.getrandbits(64), rng.getrandbits(64), 4096) for _ in range(9000))
    table = bytes((3,)) + len(points).to_bytes(3, "big") + points
    return hostile("seek.flac", content[:42] + table + content[42:], "FLAC whose seek table points nowhere", BROKEN)


def ogg_broken(rng: random.Random) -> Hostile:
    content = bytearray(good(".opus", rng.randrange(9)))
    for at in [at for at in range(len(content) - 27) if content[at : at + 4] == b"OggS"][1:]:
        field, size = rng.choice([(5, 1), (6, 8), (14, 4), (18, 4), (22, 4), (26, 1)])
        content[at + field : at + field + size] = rng.randbytes(size)
    return hostile("pages.opus", bytes(content), "Opus whose pages are broken", BROKEN)


def aiff_lying(rng: random.Random) -> Hostile:
    content = bytearray(good(".aiff", rng.randrange(9)))
    at = content.index(b"COMM") + 8
    content[at : at + 18] = struct.pack(">HIH", 65_535, 2**32 - 1, 16) + rng.randbytes(10)
    return hostile("lying.aiff", bytes(content), "AIFF of 65535 channels at an absurd rate", BROKEN)


FILMS: tuple[Make, ...] = (
    mp4_lying_about_time, mp4_of_odd_boxes, mp4_of_nested_boxes, mp4_of_many_boxes, mp4_of_lying_tables,
    mp4_of_one_frame_forever, heif_of_many_items, mkv_of_nested_elements, mkv_lying, mkv_of_many_tags, slides,
    endless_stream, headless_stream, film_without_frames, mp3_of_noise, mp3_of_many_tags, wav_lying, flac_lying,
    ogg_broken, aiff_lying,
)  # fmt: skip
