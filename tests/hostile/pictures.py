"""Hostile pictures: bombs, lies about sizes, loops, and honest giants, by format."""

import random
import struct
import zlib
from io import BytesIO

from tests.hostile.parts import (
    BOUNDED,
    BROKEN,
    NO_MEDIA,
    READY,
    REFUSED,
    Hostile,
    Make,
    box,
    deflated_zeros,
    good,
    hostile,
    jpeg,
    jpeg_segment,
    picture,
    png,
    png_chunk,
    saved,
    tiff,
    wide_jpeg,
    with_segments,
)

# PNG


def png_of_2_gigapixels(rng: random.Random) -> Hostile:
    side = rng.randrange(45_000, 60_000)
    content = png(side, side, 1, 0, deflated_zeros(side * (side // 8 + 2)))
    return hostile("bomb.png", content, f"PNG of {side} x {side} pixels, deflated to little", REFUSED)


def png_of_900_megapixels(rng: random.Random) -> Hostile:
    side = rng.randrange(28_000, 31_000)
    content = png(side, side, 8, 2, deflated_zeros(side * (side * 3 + 1)))
    return hostile(
        "within.png", content, f"RGB PNG of {side} x {side}: fewer pixels than allowed, too many bytes", BOUNDED
    )


def png_lying(rng: random.Random) -> Hostile:
    content = png(2**31 - 1 - rng.randrange(99), 2**31 - 1, 16, 6, zlib.compress(rng.randbytes(40)))
    return hostile(
        "endless.png", content, "PNG whose header says 2^31 - 1 in both directions, with nothing behind", REFUSED
    )


def png_short_header(rng: random.Random) -> Hostile:
    content = png(640, 480 + rng.randrange(9), 8, 2, deflated_zeros(64 << 20))
    return hostile("more.png", content, "PNG with 64 MiB of pixels where its header has room for 1", BOUNDED)


def png_text_bomb(rng: random.Random) -> Hostile:
    texts = b"".join(
        png_chunk(b"zTXt", b"Comment%d\0\0" % number + deflated_zeros(200 << 20))
        for number in range(rng.randrange(4, 8))
    )
    content = png(96, 72, 8, 2, zlib.compress(rng.randbytes(72 * 289)), texts)
    return hostile("text.png", content, "PNG with comments that inflate to a gigabyte", BOUNDED)


def png_profile_bomb(rng: random.Random) -> Hostile:
    profile = png_chunk(b"iCCP", b"sRGB\0\0" + deflated_zeros(rng.randrange(400, 600) << 20))
    content = png(96, 72, 8, 2, zlib.compress(rng.randbytes(72 * 289)), profile)
    return hostile("profile.png", content, "PNG with a colour profile that inflates to half a gigabyte", BOUNDED)


def png_of_many_frames(rng: random.Random) -> Hostile:
    control = png_chunk(b"acTL", struct.pack(">II", 2**31 - 1, 0))
    content = png(96, 72, 8, 2, zlib.compress(rng.randbytes(72 * 289)), control)
    return hostile("animated.png", content, "animated PNG of 2^31 - 1 frames, of which one is there", BOUNDED)


# JPEG


def jpeg_of_200_megapixels(rng: random.Random) -> Hostile:
    content = wide_jpeg(rng, 20_000, 10_000)
    return hostile("200 MP.jpg", content, "honest JPEG of 200 megapixels: it is scaled while it is decoded", READY)


def jpeg_of_4_gigapixels(rng: random.Random) -> Hostile:
    content = saved(picture(rng, 64, 64), "JPEG")
    at = content.index(b"\xff\xc0") + 5
    content = content[:at] + struct.pack(">HH", 65_500, 65_500) + content[at + 4 :]
    return hostile("bomb.jpg", content, "JPEG whose header says 65500 x 65500", REFUSED)


def jpeg_of_many_scans(rng: random.Random) -> Hostile:
    side, scans = rng.randrange(7000, 9000), 1500
    start = jpeg(rng, progressive=True)
    frame = start.index(b"\xff\xc2")
    first = start.index(b"\xff\xda")
    head = start[: frame + 5] + struct.pack(">HH", side, side) + start[frame + 9 : first]
    table = jpeg_segment(0xC4, b"\x10\1" + bytes(16))
    # a scan of one coefficient, with nothing in it: each walks over every block of the picture
    scan = jpeg_segment(0xDA, b"\x01\x01\x00\x01\x01\x00")
    content = head + table + scan * scans + b"\xff\xd9"
    return hostile("scans.jpg", content, f"progressive JPEG of {side} x {side} in {scans} scans without data", BOUNDED)


def jpeg_of_many_segments(rng: random.Random) -> Hostile:
    content = with_segments(jpeg(rng), jpeg_segment(0xFE, b"") * 100_000)
    return hostile("segments.jpg", content, "good JPEG behind 100000 empty comments", BOUNDED)


def jpeg_of_many_restarts(rng: random.Random) -> Hostile:
    content = saved(picture(rng, 2048, 2048), "JPEG", restart_marker_blocks=1)
    return hostile("restarts.jpg", content, "good JPEG with a restart marker behind each block, 16384 of them", READY)


def jpeg_of_restarts_alone(rng: random.Random) -> Hostile:
    content = jpeg(rng)
    scan = content.index(b"\xff\xda") + 14
    restarts = b"".join(bytes((0xFF, 0xD0 + number % 8)) for number in range(65_536))
    return hostile(
        "only-restarts.jpg", content[:scan] + restarts + rng.randbytes(9), "JPEG of 65536 restart markers", BROKEN
    )


def jpeg_of_another_process(rng: random.Random) -> Hostile:
    marker, about = rng.choice([(0xC9, "arithmetic-coded"), (0xC3, "lossless"), (0xC7, "differential lossless")])
    content = jpeg(rng).replace(b"\xff\xc0", bytes((0xFF, marker)), 1)
    return hostile("process.jpg", content, f"JPEG that says it is {about}", BROKEN)


def jpeg_doubled(rng: random.Random) -> Hostile:
    one = jpeg(rng)
    return hostile("doubled.jpg", one[:2] + one[:20] + one, "JPEG with its beginning twice", BROKEN)


def jpeg_with_profile_bomb(rng: random.Random) -> Hostile:
    parts = [jpeg_segment(0xE2, b"ICC_PROFILE\0" + bytes((number, 255)) + bytes(65_000)) for number in range(1, 256)]
    return hostile("profile.jpg", with_segments(jpeg(rng), *parts), "good JPEG with 16 MB of colour profile", READY)


def jpeg_and_zip(rng: random.Random) -> Hostile:
    archive = b"PK\x03\x04" + rng.randbytes(200) + b"PK\x05\x06" + bytes(18)
    return hostile("polyglot.jpg", jpeg(rng) + archive, "good JPEG and ZIP at once", READY)


# EXIF


def exif_of_loops(rng: random.Random) -> Hostile:
    entries = [(0x8769, 4, 1, 8), (0x8825, 4, 1, 8), (0x14A, 4, 1, 8), (0x112, 3, 1, rng.randrange(1, 9))]
    block = jpeg_segment(0xE1, b"Exif\0\0" + tiff(entries, following=8))
    return hostile("loop.jpg", with_segments(jpeg(rng), block), "EXIF whose directories contain themselves", READY)


def exif_of_lies(rng: random.Random) -> Hostile:
    entries = [(0x10F, 2, 2**32 - 1, 8), (0x110, 2, 2**31, 2**32 - 9), (0x9003, 5, 2**29 + rng.randrange(99), 16)]
    block = jpeg_segment(0xE1, b"Exif\0\0" + tiff(entries))
    return hostile("counts.jpg", with_segments(jpeg(rng), block), "EXIF with values of 4 GiB", READY)


def exif_of_many(rng: random.Random) -> Hostile:
    block = jpeg_segment(0xE1, b"Exif\0\0" + tiff([(rng.randrange(65_536), 3, 1, n) for n in range(5_400)]))
    return hostile("entries.jpg", with_segments(jpeg(rng), block), "EXIF of 5400 entries", READY)


def exif_of_nonsense(rng: random.Random) -> Hostile:
    gps = [(1, 2, 2, 0x53), (2, 5, 3, 200), (3, 2, 2, 0x57), (4, 5, 3, 200), (6, 5, 1, 200), (7, 5, 3, 200)]
    exif = [
        (0x829A, 5, 1, 200),
        (0x829D, 10, 1, 216),
        (0x8827, 3, 1, 65_535),
        (0x9003, 2, 20, 224),
        (0x920A, 10, 1, 216),
    ]
    entries = [(0x112, 3, 1, 65_535), (0x8769, 4, 1, 50), (0x8825, 4, 1, 116)]
    block = tiff(entries)
    for directory in (exif, gps):
        block += (
            struct.pack("<H", len(directory)) + b"".join(struct.pack("<HHII", *row) for row in directory) + bytes(4)
        )
    block = block.ljust(200, b"\0") + struct.pack("<IIIIiiI", 0, 0, 2**32 - 1, 0, -1, 2**31 - 1, 0).ljust(24, b"\0")
    block += rng.choice([b"9999:99:99 99:99:99\0", b"0000:00:00 00:00:00\0", b"-001:01:01 24:60:61\0", b"\xff" * 20])
    return hostile(
        "nonsense.jpg", with_segments(jpeg(rng), jpeg_segment(0xE1, b"Exif\0\0" + block)),
        "EXIF of negative numbers, of ratios over nothing and of the 99th month", READY,
    )  # fmt: skip


def iptc_of_many(rng: random.Random) -> Hostile:
    words = b"".join(b"\x1c\x02\x19" + struct.pack(">H", 5) + b"%05d" % number for number in range(6_500))
    resource = b"8BIM\x04\x04\0\0" + struct.pack(">I", len(words)) + words
    parts = [jpeg_segment(0xED, b"Photoshop 3.0\0" + resource)] * rng.randrange(14, 17)
    return hostile("keywords.jpg", with_segments(jpeg(rng), *parts), "JPEG with 100000 IPTC keywords", READY)


def xmp_of_many(rng: random.Random) -> Hostile:
    count = 200_000
    items = b"".join(b"<x:t%d>nan</x:t%d>" % (number, number) for number in range(count))
    packet = (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        b'<rdf:Description rdf:about="" xmlns:x="http://example.org/x/">' + items
        + b"</rdf:Description></rdf:RDF></x:xmpmeta>"
    )  # fmt: skip
    text = png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(packet, 1))
    content = png(96, 72, 8, 2, zlib.compress(rng.randbytes(72 * 289)), text)
    return hostile("tags.png", content, f"PNG with {count} XMP tags, deflated", BOUNDED)


# others


def gif_of_a_huge_canvas(rng: random.Random) -> Hostile:
    data = b"GIF89a" + struct.pack("<HHBBB", 65_535, 65_535, 0x80, 0, 0) + rng.randbytes(6)
    data += b"," + struct.pack("<HHHHB", 0, 0, 65_535, 65_535, 0) + b"\x02\x02\x4c\x01\x00;"
    return hostile("canvas.gif", data, "GIF of 65535 x 65535 from 40 bytes", REFUSED)


def gif_of_many_frames(rng: random.Random) -> Hostile:
    frames = [picture(rng, 8, 8).quantize(4) for _ in range(2)]
    one = saved(frames[0], "GIF", save_all=True, append_images=frames[1:])
    start = one.index(b"\x21\xf9")
    content = one[:start] + one[start:-1] * 20_000 + b";"
    return hostile("frames.gif", content, "good GIF of 40000 frames", READY)


def gif_and_script(rng: random.Random) -> Hostile:
    script = b"GIF89a/*" + rng.randbytes(20).replace(b"*", b"+") + b"*/=1;alert(1);//"
    return hostile("polyglot.gif", script, "GIF and JavaScript at once", BROKEN | REFUSED)


def webp_lying(rng: random.Random) -> Hostile:
    inner = good(".webp", rng.randrange(9))[12:]
    size = struct.pack("<I", rng.choice([0, 4, 2**32 - 1, 2**31]))
    wide = b"VP8X" + struct.pack("<I", 10) + b"\x02\0\0\0" + b"\xff\x3f\0" * 2
    return hostile("lying.webp", b"RIFF" + size + b"WEBP" + wide + inner, "WebP with wrong sizes", BROKEN)


def bmp_lying(rng: random.Random) -> Hostile:
    side = rng.choice([2**31 - 1, 30_000, 60_000])
    compression, bits = rng.choice([(0, 24), (1, 8), (2, 4), (3, 32)])
    header = struct.pack("<2sIHHI", b"BM", 2**32 - 1, 0, 0, 54)
    header += struct.pack("<IiiHHIIiiII", 40, side, rng.choice([-side, side]), 1, bits, compression, 0, 0, 0, 2**31, 0)
    return hostile("lying.bmp", header + rng.randbytes(400), f"BMP of {side} x {side} with nothing behind", BROKEN)


def psd_lying(rng: random.Random) -> Hostile:
    side = rng.choice([29_999, 30_000])
    header = (
        b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 56, side, side, 16, 3) + struct.pack(">III", 0, 2**31, 2**31)
    )
    return hostile("lying.psd", header + rng.randbytes(400), "PSD of 56 channels with nothing behind", BROKEN)


def jp2_lying(rng: random.Random) -> Hostile:
    content = bytearray(good(".jp2", rng.randrange(9)))
    size = content.index(b"\xff\x4f\xff\x51") + 8
    content[size : size + 8] = struct.pack(">II", 30_000, 30_000 + rng.randrange(99))
    return hostile("lying.jp2", bytes(content), "JPEG 2000 whose header says 900 megapixels", BOUNDED)


def jxl_lying(rng: random.Random) -> Hostile:
    boxes = b"\0\0\0\x0cJXL \r\n\x87\n" + box(b"ftyp", b"jxl \0\0\0\0jxl ")
    boxes += b"".join(box(b"jxlp", bytes(4), rng.choice([0, 1, 7, 2**32 - 1])) for _ in range(3))
    return hostile("lying.jxl", boxes + good(".jxl", rng.randrange(9)), "JPEG XL with wrong box sizes", BROKEN)


def avif_lying(rng: random.Random) -> Hostile:
    content = bytearray(good(".avif", rng.randrange(9)))
    name = rng.choice([b"meta", b"iloc", b"ispe", b"iprp", b"mdat", b"ftyp"])
    at = content.index(name)
    if name == b"ispe":
        content[at + 8 : at + 16] = struct.pack(">II", 30_000, 30_000)
    else:
        content[at - 4 : at] = struct.pack(">I", rng.choice([0, 1, 7, 2**31, 2**32 - 1]))
    return hostile("lying.avif", bytes(content), f"AVIF that lies about its {name.decode()}", BROKEN)


def document(rng: random.Random) -> Hostile:
    kind, content = rng.choice([
        ("SVG", b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>'),
        ("SVG", b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]><svg>&b;</svg>'),
        ("PDF", b"%PDF-1.7\n1 0 obj <</Type /Catalog /OpenAction <</S /JavaScript /JS (app.alert(1))>>>> endobj\n"),
        ("HTML", b"<!doctype html><html><script>alert(1)</script></html>"),
        ("PostScript", b"%!PS\n(%pipe%id) (w) file\n"), ("MVG", b"push graphic-context\nfill 'url(https://x|id)'\n"),
        ("font", b"\0\1\0\0\0\x0f\0\x80\0\3\0\x70OS/2"), ("playlist", b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n"),
    ])  # fmt: skip
    content += b" " * rng.randrange(999)
    extension = rng.choice([".jpg", ".png", ".mp4", ".heic"])
    return hostile(f"document{extension}", content, f"{kind} named {extension}", NO_MEDIA)


def swapped(rng: random.Random) -> Hostile:
    first, second = rng.sample([".jpg", ".png", ".webp", ".gif", ".bmp", ".tif"], 2)
    content = good(first, 1)[: rng.randrange(12, 40)] + good(second, 2)[rng.randrange(12, 40) :]
    return hostile(f"swapped{first}", content, f"beginning of a {first}, the rest of a {second}", BROKEN)


def misnamed(rng: random.Random) -> Hostile:
    is_extension = rng.choice([".jpg", ".png", ".webp", ".mp4", ".flac"])
    image = BytesIO(good(is_extension, 1)).getvalue()
    stamp = rng.randbytes(4) if is_extension == ".jpg" else b""
    named = rng.choice([".heic", ".mp3", ".mov", ".nef", ".tif"])
    return hostile(f"misnamed{named}", image + stamp, f"good {is_extension} named {named}", READY)


PICTURES: tuple[Make, ...] = (
    png_of_2_gigapixels, png_of_900_megapixels, png_lying, png_short_header, png_text_bomb, png_profile_bomb,
    png_of_many_frames, jpeg_of_200_megapixels, jpeg_of_4_gigapixels, jpeg_of_many_scans, jpeg_of_many_segments,
    jpeg_of_many_restarts, jpeg_of_restarts_alone, jpeg_of_another_process, jpeg_doubled, jpeg_with_profile_bomb,
    jpeg_and_zip, exif_of_loops, exif_of_lies, exif_of_many, exif_of_nonsense, iptc_of_many, xmp_of_many,
    gif_of_a_huge_canvas, gif_of_many_frames, gif_and_script, webp_lying, bmp_lying, psd_lying, jp2_lying, jxl_lying,
    avif_lying, document, swapped, misnamed,
)  # fmt: skip
