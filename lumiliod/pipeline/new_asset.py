"""The row of an asset whose bytes are new, and its time where the content tells none."""

import datetime as dt

from lumiliod.domain.assets import FileStat, NewAsset
from lumiliod.domain.ids import AssetId, Digest, UserId, shown, uuid7
from lumiliod.domain.media import Identified, Taken, TakenSource, TzSource


def file_clock(stat: FileStat) -> Taken:
    """Return a file's time; the present one where its own is out of range."""
    try:
        return clock(dt.datetime.fromtimestamp(stat.mtime_ns / 1e9, dt.UTC), TakenSource.FILE)
    except (OverflowError, ValueError, OSError):
        return clock(dt.datetime.now(dt.UTC), TakenSource.UPLOAD)


def clock(when: dt.datetime, source: TakenSource) -> Taken:
    """Return a moment as the time of an asset whose content tells none."""
    utc = when.astimezone(dt.UTC)
    return Taken(utc, utc.replace(tzinfo=None), TzSource.UNKNOWN, source)


def new_asset(
    owner: UserId, filename: str, digest: Digest, size_bytes: int, identified: Identified, taken: Taken
) -> NewAsset:
    """Return the row of an asset that was identified by its content."""
    sized = bool(identified.width and identified.height)
    return NewAsset(
        id=AssetId(uuid7()),
        owner_id=owner,
        type=identified.type,
        digest=digest,
        size_bytes=size_bytes,
        mime_type=identified.mime_type,
        original_filename=shown(filename).replace("\0", ""),
        width=identified.width if sized else None,
        height=identified.height if sized else None,
        duration_s=identified.duration_s,
        taken_at=taken.utc,
        taken_at_local=taken.local,
        tz_source=taken.tz_source,
        taken_source=taken.source,
    )
