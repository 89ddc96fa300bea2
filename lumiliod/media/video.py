"""Films: MP4, MOV, M4V, 3GP, AVI, MKV, WebM, FLV, WMV, MPEG transport and program streams."""

from collections.abc import Iterator

import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from lumiliod.domain.errors import Permanent
from lumiliod.domain.media import AssetType, Identified
from lumiliod.domain.streaming import FilmSurvey, Piece
from lumiliod.media import film_pieces, isobmff, libav, picture, sound_picture, web_audio, web_video
from lumiliod.media.appearance import Pixels
from lumiliod.media.asf import asf_mime_type
from lumiliod.media.film_frame import display_size, frame_pixels
from lumiliod.media.filmstrip import filmstrip
from lumiliod.media.media_type import (
    Conversion,
    Converted,
    Inspected,
    Recipe,
    Rendering,
    Sniffed,
    Source,
    check_pixels,
)
from lumiliod.media.quick_taken import quick_taken

POSTER_POSITION = 0.1
"""The poster is taken at this share of the length."""
MAX_FRAMES_TO_POSTER = 48
"""Frames decoded from the key frame before the poster's place; then the last one will do."""

_EXTENSIONS = {"video/mp4": ".mp4", "video/quicktime": ".mov", "video/3gpp": ".3gp", "video/3gpp2": ".3g2"}
_SOUND_ONLY = {
    "video/mp4": ("audio/mp4", ".m4a"),
    "video/x-ms-wmv": ("audio/x-ms-wma", ".wma"),
    "video/x-matroska": ("audio/x-matroska", ".mka"),
    "video/webm": ("audio/webm", ".weba"),
}
_PACKET, _BLURAY_PACKET = 188, 192  # MPEG transport stream; the same with a time stamp before each


class Video:
    """Films, and files of such containers that turn out to hold sound only."""

    name = "video"
    order = 30

    def sniff(self, head: bytes, size: int) -> Sniffed | None:
        """Tell a film by its container."""
        mime_type = isobmff.mime_type(head, size)
        if mime_type in _EXTENSIONS:
            return Sniffed(mime_type, ".m4v" if head[8:11] == b"M4V" else _EXTENSIONS[mime_type])
        if head.startswith(b"\x1aE\xdf\xa3"):
            is_webm = b"webm" in head[:64]
            return Sniffed("video/webm", ".webm") if is_webm else Sniffed("video/x-matroska", ".mkv")
        if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
            return Sniffed("video/x-msvideo", ".avi")
        if head.startswith(b"FLV\x01"):
            return Sniffed("video/x-flv", ".flv")
        if asf_mime_type(head) == "video/x-ms-wmv":
            return Sniffed("video/x-ms-wmv", ".wmv")
        if head.startswith(b"OggS") and (b"\x80theora" in head[:512] or b"OVP80" in head[:512]):
            return Sniffed("video/ogg", ".ogv")
        if head.startswith((b"\0\0\x01\xba", b"\0\0\x01\xb3")):
            return Sniffed("video/mpeg", ".mpg")
        for length, start, extension in ((_BLURAY_PACKET, 4, ".m2ts"), (_PACKET, 0, ".ts")):
            if len(head) > 4 * length and all(head[start + n * length] == 0x47 for n in range(4)):
                return Sniffed("video/m2ts", extension)
        return None

    def inspect(self, source: Source, sniffed: Sniffed, max_pixels: int) -> Inspected:
        """Read streams, duration and tags; the first frame says how the film is turned."""
        try:
            with libav.opened(source, sniffed.mime_type) as container:
                return _inspected(container, sniffed, max_pixels)
        except FFmpegError:
            pass
        except Permanent as error:
            if error.code != "corrupt":
                raise
        return Inspected(Identified(AssetType.VIDEO, sniffed.mime_type, sniffed.extension))

    def render(self, source: Source, sniffed: Sniffed, recipe: Recipe) -> Rendering:
        """Draw the poster at a tenth of the length, turned, in display proportions."""
        pixels = _poster(source, sniffed, recipe, is_sought=True)
        if pixels is None:  # some streams cannot be sought in: from the beginning then
            pixels = _poster(source, sniffed, recipe, is_sought=False)
        if pixels is None:
            raise Permanent("no frame can be decoded", code="corrupt")
        if not pixels.size:
            return sound_picture.render(source, sniffed, recipe)
        return picture.drawn(pixels, 1, b"", recipe)

    def convert(self, source: Source, sniffed: Sniffed, conversion: Conversion) -> Converted:
        """Write the version for the web where one is needed, and draw the strip of frames."""
        with libav.opened(source, sniffed.mime_type) as container:
            is_film = libav.picture_stream(container) is not None
        if not is_film:
            return web_audio.converted(source, sniffed, conversion)
        version = None
        if not web_video.plan(source, sniffed, conversion.max_pixels).plays:
            version = web_video.convert(source, sniffed, conversion)
        return Converted(version, filmstrip(source, sniffed, conversion.max_pixels))

    def survey(self, source: Source, sniffed: Sniffed, max_pixels: int) -> FilmSurvey:
        """Tell what must be known of a film to stream it."""
        return film_pieces.survey(source, sniffed, max_pixels)

    def cut(self, source: Source, sniffed: Sniffed, piece: Piece, conversion: Conversion) -> int:
        """Write a piece of a film for streaming."""
        return film_pieces.write(source, sniffed, piece, conversion)


def _inspected(container: InputContainer, sniffed: Sniffed, max_pixels: int) -> Inspected:
    tags = libav.quick_tags(container, sniffed.mime_type)
    duration, sound = libav.duration_s(container), libav.codec(container, "audio")
    stream = libav.picture_stream(container)
    width = height = None
    if stream is not None:
        check_pixels(stream.codec_context.width, stream.codec_context.height, max_pixels)
        film = libav.codec(container, "video")
        width, height = _shown_size(container, stream)
    elif sound is not None:
        mime_type, extension = _SOUND_ONLY.get(sniffed.mime_type, (sniffed.mime_type, sniffed.extension))
        identified = Identified(AssetType.AUDIO, mime_type, extension, duration_s=duration, taken=quick_taken(tags))
        return Inspected(identified, audio_codec=sound, tags=tags)
    else:
        film = None
    identified = Identified(
        AssetType.VIDEO, sniffed.mime_type, sniffed.extension, width, height, duration, quick_taken(tags)
    )
    return Inspected(identified, video_codec=film, audio_codec=sound, tags=tags)


def _shown_size(container: InputContainer, stream: VideoStream) -> tuple[int | None, int | None]:
    """Return the display size: sample aspect applied, sides swapped where the first frame is turned."""
    context = stream.codec_context
    width, height, rotation = context.width or None, context.height or None, 0
    try:
        frame = next(_decoded(container, stream), None)
        if frame is not None:
            rotation, width, height = frame.rotation, frame.width, frame.height
    except FFmpegError:
        pass  # a film that cannot be decoded is still a film
    if width is None or height is None:
        return None, None
    width, height = display_size(width, height, stream)
    return (height, width) if rotation % 180 else (width, height)


def _decoded(container: InputContainer, stream: VideoStream) -> Iterator[VideoFrame]:
    if not stream.codec_context.is_open:  # libav may have opened it while probing
        stream.thread_type = "NONE"
        stream.codec_context.thread_count = 1
    return container.decode(stream)


def _poster(source: Source, sniffed: Sniffed, recipe: Recipe, *, is_sought: bool) -> Pixels | None:
    """Return the poster, empty for sound without a film, or None where no frame comes out.

    Raises:
        Permanent: ``corrupt``, the container cannot be read or holds neither film nor sound.
    """
    try:
        with libav.opened(source, sniffed.mime_type) as container:
            stream = libav.picture_stream(container)
            if stream is None:
                if container.streams.audio:
                    return np.empty((0, 0, 3), np.uint8)
                raise Permanent("the container holds neither film nor sound", code="corrupt")
            check_pixels(stream.codec_context.width, stream.codec_context.height, recipe.max_pixels)
            target_s, start_s = 0.0, (container.start_time or 0) / 1_000_000
            if is_sought:
                target_s = start_s + (libav.duration_s(container) or 0) * POSTER_POSITION
                if target_s > start_s:
                    container.seek(int(target_s * 1_000_000))
            frame = _frame_at(container, stream, target_s, needs_key=target_s > start_s)
            if frame is None:
                return None
            check_pixels(frame.width, frame.height, recipe.max_pixels)
            return frame_pixels(frame, stream, max(recipe.sizes))
    except FFmpegError:
        return None


def _frame_at(container: InputContainer, stream: VideoStream, target_s: float, *, needs_key: bool) -> VideoFrame | None:
    """Return the first frame at or after ``target_s``, or the last of a bounded number before it.

    With ``needs_key`` everything before the first key frame is passed over: transport streams are
    sought by byte, and what precedes it is a smear.
    """
    chosen: VideoFrame | None = None
    try:
        for count, frame in enumerate(_decoded(container, stream)):
            if count >= MAX_FRAMES_TO_POSTER:
                break
            if chosen is None and needs_key and not frame.key_frame:
                continue
            chosen = frame
            if frame.time is None or frame.time >= target_s:
                break
    except FFmpegError:
        if chosen is None:
            raise
    return chosen
