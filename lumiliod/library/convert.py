"""From rows to wire types."""

import base64
import binascii
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, TypeVar

import msgspec

from lumiliod.contract.assets import (
    Appearance,
    Asset,
    AssetDetail,
    AssetVersion,
    Companion,
    Region,
    Stack,
    StackMember,
)
from lumiliod.contract.jobs import Cause, Job, JobError, Progress
from lumiliod.contract.live import RunningJob
from lumiliod.db import sidecars
from lumiliod.db.job_admin import CauseRow, JobRow, RunningRow
from lumiliod.db.sidecars import Beside
from lumiliod.db.versions import Version
from lumiliod.domain import media as domain
from lumiliod.domain import stacks
from lumiliod.domain.assets import AssetDetails, AssetRow
from lumiliod.domain.derivatives import version
from lumiliod.domain.errors import Shape
from lumiliod.domain.ids import path_from_bytes, shown
from lumiliod.domain.media import AssetType

T = TypeVar("T")

MAX_PAGE = 500


def asset(row: AssetRow, stack: stacks.Stack | None) -> Asset:
    """Return the wire form of an asset and of the stack it is in."""
    return Asset(**_asset_fields(row, stack))


def asset_detail(
    row: AssetRow,
    details: AssetDetails,
    looks: domain.Appearance | None,
    stack: stacks.Stack | None,
    beside: Sequence[Beside],
    former: Sequence[Version],
) -> AssetDetail:
    """Return the wire form of an asset with everything its file says of itself, what it looks like and belongs to."""
    fields = {name: getattr(details, name) for name in AssetDetail.__struct_fields__ if hasattr(details, name)}
    fields["regions"] = msgspec.convert(details.regions, list[Region])
    fields["appearance"] = _appearance(looks) if looks else None
    fields["stack_members"] = [_stack_member(member) for member in stack.members] if stack else []
    fields["companions"] = _companions(row, beside)
    fields["versions"] = [AssetVersion(**asdict(version)) for version in former]
    return AssetDetail(**_asset_fields(row, stack), **fields)


def _companions(row: AssetRow, beside: Sequence[Beside]) -> list[Companion]:
    read = sidecars.read(beside, row.repository_id)
    told = [
        Companion(
            kind="sidecar",
            repository_id=one.sidecar.repository_id,
            path=shown(one.sidecar.path),
            is_read=one is read,
            why=_why_sidecar(one, read),
        )
        for one in beside
    ]
    if row.motion_offset is not None:
        why = f"{row.motion_bytes} bytes of film within the file, from byte {row.motion_offset} on"
        told.append(Companion(kind="motion", repository_id=None, path=None, is_read=True, why=why))
    return told


def _why_sidecar(one: Beside, read: Beside | None) -> str:
    if one is read or not one.sidecar.path.lower().endswith(".xmp"):
        return one.why
    return f"{one.why}; not read, for {shown(read.sidecar.path.rpartition('/')[2])} is" if read else one.why


def _stack_member(member: stacks.StackMember) -> StackMember:
    return StackMember(id=member.id, name=shown(member.name), role=member.role, why=shown(member.why))


def _appearance(looks: domain.Appearance) -> Appearance:
    fields = {name: getattr(looks, name) for name in Appearance.__struct_fields__}
    return Appearance(**{**fields, "phash": None if looks.phash is None else f"{looks.phash:016x}"})


def _asset_fields(row: AssetRow, stack: stacks.Stack | None) -> dict[str, Any]:
    fields = {name: getattr(row, name) for name in Asset.__struct_fields__ if hasattr(row, name)}
    fields["digest"] = row.digest.hex()
    fields["path"] = shown(path_from_bytes(row.path)) if row.path is not None else None
    fields["repository"] = row.repository
    fields["thumbhash"] = base64.b64encode(row.thumbhash).decode() if row.thumbhash is not None else None
    made_at = row.thumbnails_made_at
    fields["thumbnail_version"] = version(row.thumbnail_recipe or "", made_at) if made_at is not None else None
    fields["live_id"] = stack.moving(row.id) if stack else None
    is_live = row.type == AssetType.PHOTO and fields["live_id"] is not None
    fields["motion"] = row.motion_offset is not None or is_live
    fields["stack"] = stack and Stack(
        kind=stack.kind, cover=stack.cover, count=len(stack.members), why=shown(stack.why)
    )
    return fields


def job(row: JobRow, about: str | None = None) -> Job:
    """Return the wire form of a job that is ``about`` something."""
    fields = {name: getattr(row, name) for name in Job.__struct_fields__ if hasattr(row, name)}
    fields["about"] = about
    fields["errors"] = msgspec.convert(row.errors, list[JobError])
    fields["progress"] = _progress(row.progress)
    return Job(**fields)


def running_job(row: RunningRow) -> RunningJob:
    """Return the wire form of a job that runs."""
    fields = {name: getattr(row, name) for name in RunningJob.__struct_fields__}
    fields["progress"] = _progress(row.progress)
    return RunningJob(**fields)


def _progress(row: dict[str, Any] | None) -> Progress | None:
    return msgspec.convert(row, Progress | None)


def cause(row: CauseRow) -> Cause:
    """Return the wire form of a cause of failures."""
    return Cause(**{name: getattr(row, name) for name in Cause.__struct_fields__})


def limited(limit: int) -> int:
    """Check a page's size.

    Raises:
        Shape: not between 1 and 500.
    """
    if not 1 <= limit <= MAX_PAGE:
        raise Shape(f"limit is between 1 and {MAX_PAGE}", code="bad_limit")
    return limit


def cursor(*parts: object) -> str:
    """Make an opaque cursor of where a page ended."""
    return base64.urlsafe_b64encode(msgspec.msgpack.encode(parts)).decode().rstrip("=")


def from_cursor(text: str, type_: type[T]) -> T:
    """Read a cursor made by :func:`cursor`.

    Raises:
        Shape: it is none of ours.
    """
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        return msgspec.msgpack.decode(raw, type=type_)
    except (binascii.Error, msgspec.DecodeError, ValueError) as error:
        raise Shape("this cursor is not one of ours", code="bad_cursor") from error
