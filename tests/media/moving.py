"""Photos that move and photos whose faces are named, as phones and programs write them."""

import io
import struct
import subprocess
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image

from tests.media.test_web_video import film

XMP = """<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:GCamera="http://ns.google.com/photos/1.0/camera/"
 xmlns:Container="http://ns.google.com/photos/1.0/container/"
 xmlns:Item="http://ns.google.com/photos/1.0/container/item/" GCamera:MotionPhoto="1" GCamera:MotionPhotoVersion="1">
<Container:Directory><rdf:Seq>{items}</rdf:Seq></Container:Directory></rdf:Description></rdf:RDF></x:xmpmeta>"""
ITEM = '<rdf:li rdf:parseType="Resource"><Container:Item Item:Mime="{}" Item:Semantic="{}"{}/></rdf:li>'


def exiftool(path: Path, *arguments: str) -> None:
    subprocess.run(["exiftool", "-q", "-overwrite_original", *arguments, str(path)], check=True)


def film_bytes(path: Path) -> bytes:
    """Return a small MP4, written through ``path``."""
    return film(path, size=(64, 48), seconds=0.4, sound=None).read_bytes()


def jpeg(path: Path, size: tuple[int, int] = (400, 300), colour: str = "red", exif: Image.Exif | None = None) -> Path:
    Image.new("RGB", size, colour).save(path, exif=exif or Image.Exif())
    return path


def micro_video(path: Path, moving: bytes) -> Path:
    """Write Google's older form: XMP says how far from the end the film begins."""
    jpeg(path, colour="blue")
    exiftool(path, "-XMP-GCamera:MicroVideo=1", f"-XMP-GCamera:MicroVideoOffset={len(moving)}")
    return appended(path, moving)


def motion_photo(path: Path, moving: bytes, between: bytes = b"", behind: int = 0) -> Path:
    """Write Google's form 1.0: a directory of what follows the picture, a gain map before the film perhaps."""
    jpeg(path, colour="green")
    items = ITEM.format("image/jpeg", "Primary", ' Item:Length="0" Item:Padding="0"')
    if between:
        items += ITEM.format("image/jpeg", "GainMap", f' Item:Length="{len(between)}"')
    items += ITEM.format("video/mp4", "MotionPhoto", f' Item:Length="{len(moving) + behind}"')
    packet = path.with_suffix(".packet")
    packet.write_text(XMP.format(items=items))
    exiftool(path, f"-xmp<={packet}")
    packet.unlink()
    return appended(path, between + moving)


def samsung_jpeg(path: Path, moving: bytes) -> Path:
    """Write Samsung's form: a trailer of blocks with a directory that counts back from itself."""
    exif = Image.Exif()
    exif[0x010F] = "samsung"
    jpeg(path, colour="purple", exif=exif)
    blocks, entries = b"", list[tuple[int, int, int]]()
    for kind, name, data in ((0x0A01, b"Image_UTC_Data", b"1705124333853"), (0x0A30, b"MotionPhoto_Data", moving)):
        block = struct.pack("<HHI", 0, kind, len(name)) + name + data
        entries.append((kind, len(blocks), len(block)))
        blocks += block
    directory = b"SEFH" + struct.pack("<II", 107, len(entries))
    for kind, at, size in entries:
        directory += struct.pack("<HHII", 0, kind, len(blocks) - at, size)
    return appended(path, blocks + directory + struct.pack("<I", len(directory)) + b"SEFT")


def boxed(path: Path, moving: bytes) -> Path:
    """Write the form of HEIF, here AVIF: a box of its own at the end."""
    Image.new("RGB", (400, 300), "orange").save(path)
    exiftool(path, "-XMP-GCamera:MicroVideo=1")
    return appended(path, struct.pack(">I", len(moving) + 8) + b"mpvd" + moving)


def appended(path: Path, content: bytes) -> Path:
    path.write_bytes(path.read_bytes() + content)
    return path


def apple_photo(path: Path, colour: str, *, content_id: str | None = None, burst: str | None = None) -> Path:
    """Write a photo with the maker's note of an iPhone (as ExifTool's Apple.pm reads it)."""
    exif = Image.Exif()
    exif[0x010F] = "Apple"
    told = {tag: text.encode() + b"\0" for tag, text in ((0x0B, burst), (0x11, content_id)) if text is not None}
    entries, data = b"", b""
    for tag, raw in told.items():
        entries += struct.pack(">HHII", tag, 2, len(raw), 14 + 2 + 12 * len(told) + 4 + len(data))
        data += raw
    note = b"Apple iOS\0\0\1MM" + struct.pack(">H", len(told)) + entries + bytes(4) + data
    exif.get_ifd(0x8769)[0x927C] = note
    return jpeg(path, colour=colour, exif=exif)


def apple_film(path: Path, content_id: str | None = None, *, frames: int = 25, level: int = 0) -> Path:
    """Write a QuickTime film of a second for 25 frames, with the id of a live photo."""
    with av.open(str(path), "w", options={"movflags": "use_metadata_tags"}) as container:
        if content_id is not None:
            container.metadata["com.apple.quicktime.content.identifier"] = content_id
        stream: Any = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(frames):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), level, np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def opened_film(content: bytes) -> int:
    """Return how many frames come out of a film."""
    with av.open(io.BytesIO(content), "r") as container:
        return len(list(container.decode(video=0)))
