"""Recordings: MP3, AAC, M4A, FLAC, WAV, Ogg Vorbis and Opus, AIFF, WMA."""

from lumiliod.domain.errors import Permanent
from lumiliod.domain.media import AssetType, Identified
from lumiliod.media import isobmff, libav, sound_picture, web_audio
from lumiliod.media.asf import asf_mime_type
from lumiliod.media.media_type import Conversion, Converted, Inspected, Recipe, Rendering, Sniffed, Source
from lumiliod.media.quick_taken import quick_taken

# ISO/IEC 11172-3 and 13818-3: kbit/s by layer (1, 2, 3), MPEG-1 then MPEG-2
_BITRATES = {
    (1, 1): (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (1, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (2, 3): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}  # MPEG-1, 2, 2.5


class Audio:
    """Sound without a film; cover pictures do not count."""

    name = "audio"
    order = 40

    def sniff(self, head: bytes, size: int) -> Sniffed | None:
        """Tell a recording by its signature, MP3 and AAC by two frames that follow each other."""
        if head[:4] in (b"RIFF", b"RF64") and head[8:12] == b"WAVE":
            return Sniffed("audio/x-wav", ".wav")
        if head.startswith(b"fLaC"):
            return Sniffed("audio/flac", ".flac")
        if head.startswith(b"OggS"):
            return _sniff_ogg(head)
        if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
            return Sniffed("audio/x-aiff", ".aiff")
        if isobmff.mime_type(head, size) == "audio/mp4":
            return Sniffed("audio/mp4", ".m4a")
        if asf_mime_type(head) == "audio/x-ms-wma":
            return Sniffed("audio/x-ms-wma", ".wma")
        return _sniff_frames(head)

    def inspect(self, source: Source, sniffed: Sniffed, max_pixels: int) -> Inspected:
        """Read duration, codec and tags; a container libav cannot read stays without them."""
        try:
            with libav.opened(source, sniffed.mime_type) as container:
                tags = libav.quick_tags(container, sniffed.mime_type)
                duration = libav.duration_s(container)
                codec = libav.codec(container, "audio")
        except Permanent:
            tags, duration, codec = {}, None, None
        identified = Identified(
            AssetType.AUDIO,
            sniffed.mime_type,
            ".opus" if codec == "opus" and sniffed.extension == ".ogg" else sniffed.extension,
            duration_s=duration,
            taken=quick_taken(tags),
        )
        return Inspected(identified, audio_codec=codec, tags=tags)

    def render(self, source: Source, sniffed: Sniffed, recipe: Recipe) -> Rendering:
        """Draw the cover where there is one, else the shape of the sound; and return that shape."""
        return sound_picture.render(source, sniffed, recipe)

    def convert(self, source: Source, sniffed: Sniffed, conversion: Conversion) -> Converted:
        """Write the version for the web where one is needed."""
        return web_audio.converted(source, sniffed, conversion)


def _sniff_ogg(head: bytes) -> Sniffed:
    first_page = head[:512]
    if b"\x80theora" in first_page or b"OVP80" in first_page:
        return Sniffed("video/ogg", ".ogv")
    return Sniffed("audio/ogg", ".opus" if b"OpusHead" in first_page else ".ogg")


def _sniff_frames(head: bytes) -> Sniffed | None:
    start = 0
    if head[:3] == b"ID3" and len(head) >= 10:
        if head[3] > 4 or any(byte & 0x80 for byte in head[6:10]):
            return None
        start = 10 + (head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9])
        if start + 4 > len(head):  # a large cover picture: the frames lie beyond what was read
            return Sniffed("audio/mpeg", ".mp3")
        if head[start : start + 4] == b"fLaC":
            return Sniffed("audio/flac", ".flac")
        while start < len(head) - 4 and head[start] == 0:  # padding
            start += 1
    for length_of, sniffed in (
        (_mpeg_frame_bytes, Sniffed("audio/mpeg", ".mp3")),
        (_adts_frame_bytes, Sniffed("audio/aac", ".aac")),
    ):
        length = length_of(head, start)
        if length and length_of(head, start + length):
            return sniffed
    return None


def _mpeg_frame_bytes(head: bytes, at: int) -> int:
    """Return the length of the MPEG audio frame at ``at``, 0 where there is none."""
    frame = head[at : at + 4]
    if len(frame) < 4 or frame[0] != 0xFF or frame[1] & 0xE0 != 0xE0:
        return 0
    version, layer = frame[1] >> 3 & 3, 4 - (frame[1] >> 1 & 3)
    bitrate, rate = frame[2] >> 4, frame[2] >> 2 & 3
    if version == 1 or layer == 4 or bitrate in (0, 15) or rate == 3:
        return 0
    bits = _BITRATES[1 if version == 3 else 2, layer][bitrate] * 1000
    hertz, padding = _RATES[version][rate], frame[2] >> 1 & 1
    if layer == 1:
        return (12 * bits // hertz + padding) * 4
    samples = 72 if layer == 3 and version != 3 else 144
    return samples * bits // hertz + padding


def _adts_frame_bytes(head: bytes, at: int) -> int:
    """Return the length of the ADTS frame at ``at`` (ISO/IEC 13818-7), 0 where there is none."""
    frame = head[at : at + 7]
    if len(frame) < 7 or frame[0] != 0xFF or frame[1] & 0xF6 != 0xF0 or frame[2] >> 2 & 15 > 12:
        return 0
    length = (frame[3] & 3) << 11 | frame[4] << 3 | frame[5] >> 5
    return length if length > 7 else 0
