"""What senders of resumable uploads say, in the words of tus: metadata, and which upload they mean."""

import base64
import binascii
from collections.abc import Mapping
from uuid import UUID

from lumiliod.domain.errors import NotFound, Shape
from lumiliod.domain.ids import UploadId

METADATA_MAX = 16_384


def read_metadata(text: str) -> Mapping[str, str]:
    """Read tus's ``Upload-Metadata``: names and base64 values.

    Raises:
        Shape: it is none (``bad_metadata``).
    """
    found: dict[str, str] = {}
    if len(text) > METADATA_MAX:
        raise Shape(f"metadata have at most {METADATA_MAX} characters", code="bad_metadata")
    for pair in filter(None, (pair.strip() for pair in text.split(","))):
        name, _, value = pair.partition(" ")
        try:
            found[name] = base64.b64decode(value.strip(), validate=True).decode("utf-8", "surrogateescape")
        except binascii.Error as error:
            raise Shape(f"the metadata's {name!r} is not base64", code="bad_metadata") from error
    return found


def upload_id(text: str) -> UploadId:
    """Read an upload's id.

    Raises:
        NotFound: it cannot be one.
    """
    try:
        return UploadId(UUID(text))
    except ValueError as error:
        raise NotFound("there is no such upload", code="upload_not_found") from error
