"""What the daemon and a media worker say to each other: msgpack frames behind a four-byte length.

Requests and answers strictly alternate, but for the words of how far one is. With each request goes the original, as a
descriptor, and with some the files to be written; pictures come back as bytes. An answer comes from whoever took the
worker over: :func:`is_sound` says whether it can be one.
"""

import math
import re
from datetime import timedelta
from typing import Literal

import msgspec

from lumiliod.domain.media import Appearance, Identified, MotionVideo, WebVideo
from lumiliod.domain.streaming import RENDITIONS, FilmSurvey, Piece
from lumiliod.media.encoders import SOFTWARE
from lumiliod.media.media_type import Converted, Filmstrip, Inspected, Picture, Rendering

MAX_FRAME_BYTES = 16 << 20
TOGETHER = 8
"""Files that one request is about at most."""
MAX_TAGS, MAX_TEXT, MAX_MESSAGE = 256, 4096, 400
MAX_SIDE_PX, MAX_DURATION_S = 1 << 31, 1e9
JPEG_MAX_PX = 65_500
"""The longest side that libjpeg encodes (JPEG_MAX_DIMENSION of its jmorecfg.h); what is larger is reduced."""
MAX_WAVEFORM_BYTES = 1 << 16
MAX_STRIP_FRAMES, MAX_STRIP_PX = 1000, 1000
MAX_RATE = 1000

_MIME_TYPE = re.compile(r"[a-z]{1,20}/[a-z0-9][a-z0-9.+-]{0,60}")
_EXTENSION = re.compile(r"\.[a-z0-9]{1,8}")
_CODE = re.compile(r"[a-z_]{1,40}")
_SIGNATURES = {"jpeg": b"\xff\xd8\xff", "webp": b"RIFF"}


class Warm(msgspec.Struct, frozen=True, tag=True):
    """The zygote's first order: import media types (``module:attribute``); it answers with its own process id."""

    media_types: tuple[str, ...]


class Fork(msgspec.Struct, frozen=True, tag=True):
    """Order a zygote to fork a worker, which serves the socket that comes with this."""


class Reap(msgspec.Struct, frozen=True, tag=True):
    """Order a zygote to reap a worker that has ended; it says nothing."""

    pid: int


class Spawned(msgspec.Struct, frozen=True, tag=True):
    """A zygote's answer: the process there is now."""

    pid: int


class Setup(msgspec.Struct, frozen=True):
    """A worker's first frame: the media types that are loaded (``module:attribute``) and every limit."""

    media_types: tuple[str, ...]
    memory_limit_bytes: int
    cpu_limit_s: int
    max_pixels: int
    thumbnail_format: Literal["jpeg", "webp"]
    thumbnail_quality: int
    writes_files: bool = False
    """Whether it may write to the files that are handed to it."""
    file_limit_bytes: int = 0
    """How long one of these may become; 0 is no limit."""
    encoders: tuple[str, ...] = ()
    """Hardware encoders whose devices stay within its reach."""


class Ready(msgspec.Struct, frozen=True):
    """The worker's first answer: its imports are warm, and it has given up the rest.

    ``libraries`` maps what only it can know to versions; ``protections`` are those in force.
    """

    libraries: dict[str, str]
    protections: tuple[str, ...]


class Inspect(msgspec.Struct, frozen=True, tag=True):
    """Ask what a file is."""


class InspectAll(msgspec.Struct, frozen=True, tag=True):
    """Ask what several files are; so many come with it, ``TOGETHER`` at most."""

    count: int


class Render(msgspec.Struct, frozen=True, tag=True):
    """Ask for pictures of a file."""

    sizes: tuple[int, ...]


class Develop(msgspec.Struct, frozen=True, tag=True):
    """Ask for a photo in full size, a JPEG written into the second file that comes along."""


class Locate(msgspec.Struct, frozen=True, tag=True):
    """Ask where the film of a motion photo lies; its tags say so many bytes before the end."""

    from_end: tuple[int, ...]


class Convert(msgspec.Struct, frozen=True, tag=True):
    """Ask for the version for the web of a film or a sound.

    An empty file for what is between, and one for the result, come with it.
    """

    encoder: str = SOFTWARE


class Survey(msgspec.Struct, frozen=True, tag=True):
    """Ask what must be known of a film to stream it."""


class Cut(msgspec.Struct, frozen=True, tag=True):
    """Ask for a piece of a film; files come with it as with Convert."""

    piece: Piece


class Probe(msgspec.Struct, frozen=True, tag=True):
    """Ask which of some encoders works; the file that comes with it is not looked at."""

    encoders: tuple[str, ...]


class Known(msgspec.Struct, frozen=True, tag=True):
    """Answer to Inspect."""

    inspected: Inspected


class Drawn(msgspec.Struct, frozen=True, tag=True):
    """Answer to Render."""

    rendering: Rendering


class Located(msgspec.Struct, frozen=True, tag=True):
    """Answer to Locate."""

    motion: MotionVideo | None


class Advanced(msgspec.Struct, frozen=True, tag=True):
    """Not an answer yet: the share that is done, 0 to 1."""

    share: float


class Made(msgspec.Struct, frozen=True, tag=True):
    """Answer to Convert."""

    converted: Converted


class Surveyed(msgspec.Struct, frozen=True, tag=True):
    """Answer to Survey."""

    survey: FilmSurvey


class Developed(msgspec.Struct, frozen=True, tag=True):
    """A photo was written in full size: its pixels and bytes."""

    width: int
    height: int
    size_bytes: int


class Wrote(msgspec.Struct, frozen=True, tag=True):
    """Answer to Cut."""

    size_bytes: int


class Probed(msgspec.Struct, frozen=True, tag=True):
    """Answer to Probe: one that works, if any, and why those before do not."""

    works: str | None
    reasons: dict[str, str]


class Failed(msgspec.Struct, frozen=True, tag=True):
    """The request failed; ``kind`` names the error class the daemon raises."""

    kind: Literal["permanent", "refused", "unavailable"]
    code: str
    message: str


class KnownAll(msgspec.Struct, frozen=True, tag=True):
    """Answer to InspectAll: what each file is, in their order, or why that cannot be said."""

    answers: tuple[Known | Failed, ...]


Request = Inspect | InspectAll | Render | Develop | Locate | Convert | Survey | Cut | Probe
Answer = Known | KnownAll | Drawn | Developed | Located | Advanced | Made | Surveyed | Wrote | Probed | Failed


ZygoteOrder = Warm | Fork | Reap


def frame(message: Request | Answer | Setup | Ready | ZygoteOrder | Spawned) -> bytes:
    """Return ``message`` as it goes through the socket."""
    payload = msgspec.msgpack.encode(message)
    return len(payload).to_bytes(4, "big") + payload


def is_sound(answer: Answer, request: Request, setup: Setup) -> bool:
    """Tell whether an answer is one to ``request`` that an honest worker could give."""
    match answer, request:
        case Failed(code=code, message=message), _:
            return _CODE.fullmatch(code) is not None and len(message) <= MAX_MESSAGE and message.isprintable()
        case Known(inspected=inspected), Inspect():
            return _is_known(inspected)
        case KnownAll(answers=answers), InspectAll(count=count):
            return len(answers) == count and all(is_sound(one, Inspect(), setup) for one in answers)
        case Drawn(rendering=rendering), Render(sizes=sizes):
            pictures = rendering.pictures
            if pictures and sorted(picture.size for picture in pictures) != sorted(sizes):
                return False
            is_drawn = all(_is_picture(picture, setup) for picture in pictures) and _is_seen(rendering.appearance)
            return is_drawn and (rendering.waveform is None or len(rendering.waveform) <= MAX_WAVEFORM_BYTES)
        case Developed(width=width, height=height, size_bytes=size_bytes), Develop():
            return 0 < width <= JPEG_MAX_PX and 0 < height <= JPEG_MAX_PX and size_bytes > 0
        case Located(motion=motion), Locate():
            return motion is None or (0 < motion.offset_bytes < 1 << 62 and 0 < motion.size_bytes < 1 << 62)
        case Advanced(share=share), Convert() | Cut():
            return 0 <= share <= 1
        case Made(converted=converted), Convert():
            sound = converted.sound
            is_heard = sound is None or (0 <= sound.duration_s <= MAX_DURATION_S and sound.size_bytes > 0)
            return is_heard and _is_version(converted.version) and _is_strip(converted.filmstrip)
        case Surveyed(survey=survey), Survey():
            return _is_survey(survey)
        case Wrote(size_bytes=size_bytes), Cut():
            return size_bytes > 0
        case Probed(works=works, reasons=reasons), Probe(encoders=encoders):
            return (works is None or works in encoders) and all(
                name in encoders and len(reason) <= MAX_MESSAGE for name, reason in reasons.items()
            )
        case _:
            return False


def _is_survey(survey: FilmSurvey) -> bool:
    return (
        0 <= survey.duration_s <= MAX_DURATION_S
        and 0 < survey.rate <= MAX_RATE
        and bool(survey.sizes)
        and all(name in RENDITIONS for name in survey.sizes)
        and all(0 < side <= MAX_SIDE_PX for size in survey.sizes.values() for side in size)
    )


def _is_picture(picture: Picture, setup: Setup) -> bool:
    is_in_size = 0 < picture.width <= picture.size and 0 < picture.height <= picture.size
    return is_in_size and picture.data.startswith(_SIGNATURES[setup.thumbnail_format])


def _is_version(version: WebVideo | None) -> bool:
    if version is None:
        return True
    is_in_size = 0 < version.width <= MAX_SIDE_PX and 0 < version.height <= MAX_SIDE_PX
    return is_in_size and 0 <= version.duration_s <= MAX_DURATION_S and version.size_bytes > 0


def _is_strip(strip: Filmstrip | None) -> bool:
    if strip is None:
        return True
    return (
        strip.data.startswith(_SIGNATURES["jpeg"])
        and 0 < strip.columns <= strip.frames <= MAX_STRIP_FRAMES
        and 0 < strip.width <= MAX_STRIP_PX
        and 0 < strip.height <= MAX_STRIP_PX
        and 0 < strip.interval_s <= MAX_DURATION_S
    )


def _is_known(inspected: Inspected) -> bool:
    texts = [text for text in (inspected.video_codec, inspected.audio_codec) if text is not None]
    texts += inspected.tags
    texts += [value for value in inspected.tags.values() if isinstance(value, str)]
    numbers = [value for value in inspected.tags.values() if not isinstance(value, str)]
    return (
        _is_identified(inspected.identified)
        and len(inspected.tags) <= MAX_TAGS
        and all(len(text) <= MAX_TEXT and "\0" not in text for text in texts)
        and all(math.isfinite(number) for number in numbers)
    )


def _is_identified(identified: Identified) -> bool:
    duration, taken = identified.duration_s, identified.taken
    return (
        _MIME_TYPE.fullmatch(identified.mime_type) is not None
        and _EXTENSION.fullmatch(identified.extension) is not None
        and all(side is None or 0 <= side <= MAX_SIDE_PX for side in (identified.width, identified.height))
        and (duration is None or 0 <= duration <= MAX_DURATION_S)
        and (taken is None or (taken.utc.utcoffset() == timedelta() and taken.local.tzinfo is None))
    )


def _is_seen(appearance: Appearance | None) -> bool:
    if appearance is None:
        return True
    shares = (appearance.brightness, appearance.dark_share, appearance.bright_share)
    return (
        (appearance.phash is None or 0 <= appearance.phash < 1 << 64)
        and len(appearance.thumbhash) <= 64
        and 0 <= appearance.sharpness <= 255**2 * 64
        and all(0 <= share <= 1 for share in shares)
    )
