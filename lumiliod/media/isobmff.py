"""Recognise ISO base media files (ISO/IEC 14496-12) by their brands: HEIF, AVIF, CR3, MP4, QuickTime, 3GP, M4A."""

_HEIC = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"})
_HEIF = frozenset({b"mif1", b"msf1", b"mif2", b"miaf"})
_AVIF = frozenset({b"avif", b"avis"})
_AUDIO = frozenset({b"M4A ", b"M4B ", b"M4P "})
_QUICKTIME_ATOMS = frozenset({b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"})


def mime_type(head: bytes, size: int) -> str | None:
    """Return the MIME type an ISO base media file's brands name, or None where ``head`` is no such file."""
    if len(head) < 12:
        return None
    length, kind = int.from_bytes(head[:4], "big"), head[4:8]
    if kind in _QUICKTIME_ATOMS:  # QuickTime before 2001 has no ftyp
        return "video/quicktime" if 8 <= length <= size or length in (0, 1) else None
    if kind != b"ftyp" or not 8 <= length <= size:
        return None
    major = head[8:12]
    compatible = {head[at : at + 4] for at in range(16, min(length, len(head)), 4)}
    if major == b"crx ":
        return "image/x-canon-cr3"
    if major in _AVIF or (major in _HEIF and compatible & _AVIF):
        return "image/avif"
    if major in _HEIC:
        return "image/heic"
    if major in _HEIF:
        return "image/heif"
    if major in _AUDIO:
        return "audio/mp4"
    if major == b"qt  ":
        return "video/quicktime"
    if major[:3] == b"3gp":
        return "video/3gpp"
    if major[:3] == b"3g2":
        return "video/3gpp2"
    return "video/mp4"
