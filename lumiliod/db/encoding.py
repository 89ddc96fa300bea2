"""How values are written: as JSON that PostgreSQL takes, and as rows of COPY."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
import psycopg

from lumiliod.domain.errors import Permanent
from lumiliod.domain.text import storable

ENCODER = msgspec.json.Encoder(enc_hook=str)
"""What it does not know is kept as its text."""


def dumped(value: object) -> str:
    """Return ``value`` as JSON that PostgreSQL takes: without NUL, lone surrogates and infinities."""
    try:
        text = ENCODER.encode(value).decode()
    except _UNENCODABLE:
        return json.dumps(storable(value), default=_text)
    return ENCODER.encode(storable(value)).decode() if "\\u0000" in text else text


def _text(value: object) -> str:
    return str(storable(str(value)))


_UNENCODABLE = (TypeError, ValueError, OverflowError)
"""A key that is no text, a lone surrogate, an integer of more than 64 bits: the standard library's way then."""


def dumped_all(values: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return each of ``values`` as :func:`dumped` does, all in one go where that can be, escaped for COPY."""
    try:
        lines = ENCODER.encode_lines(values).decode()
    except _UNENCODABLE:
        return [copied(dumped(value)) for value in values]
    if "\\u0000" in lines:
        return [copied(dumped(value)) for value in values]
    return lines.replace("\\", "\\\\").split("\n")[:-1]


def write_rows(copy: psycopg.Copy, rows: str) -> None:
    """Send rows to COPY.

    Raises:
        Permanent: one holds what is no text (``bad_value``).
    """
    try:
        data = rows.encode()
    except UnicodeEncodeError as error:
        raise Permanent("a name of a job is no text", code="bad_value") from error
    copy.write(data)


NULL = "\\N"
_COPIED = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


def copied(text: str) -> str:
    """Return ``text`` as COPY's text format wants it."""
    return text.translate(_COPIED) if "\\" in text or not text.isprintable() else text


def array_literal(items: Sequence[str]) -> str:
    """Return texts as PostgreSQL writes an array."""
    quoted = (item.replace("\\", "\\\\").replace('"', '\\"') for item in items)
    return "{" + ",".join(f'"{item}"' for item in quoted) + "}"


def plain_array(texts: Iterable[str]) -> str:
    """Return what needs no quotes as PostgreSQL writes an array: a tenth of what an array's adapter takes."""
    return "{" + ",".join(texts) + "}"


def bytes_array(values: Iterable[bytes]) -> str:
    """Return ``values`` as PostgreSQL writes an array of bytea."""
    texts = [value.hex() for value in values]
    return '{"\\\\x' + '","\\\\x'.join(texts) + '"}' if texts else "{}"
