"""Tell film from sound in Advanced Systems Format by the streams its header names (ASF specification 1.20)."""

from uuid import UUID

_HEADER = UUID("75b22630-668e-11cf-a6d9-00aa0062ce6c").bytes_le
_VIDEO = UUID("bc19efc0-5b4d-11cf-a8fd-00805f5c442b").bytes_le
_AUDIO = UUID("f8699e40-5b4d-11cf-a8fd-00805f5c442b").bytes_le


def asf_mime_type(head: bytes) -> str | None:
    """Return ``video/x-ms-wmv`` or ``audio/x-ms-wma``, or None where ``head`` is not ASF."""
    if not head.startswith(_HEADER):
        return None
    return "audio/x-ms-wma" if _AUDIO in head and _VIDEO not in head else "video/x-ms-wmv"
