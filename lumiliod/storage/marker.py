"""The marker file ``.lumiliorepo``: YAML, compatible with upstream Lumilio; unknown keys are kept."""

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
import yaml

from lumiliod.domain.errors import Permanent, Shape
from lumiliod.domain.ids import RepositoryId
from lumiliod.domain.repositories import LocalSettings, Marker, SyncSettings, checked_name

NAME = ".lumiliorepo"
MAX_BYTES = 1 << 16
DEPTH_MAX = 20
NODES_MAX = 10_000

_HEADER = "# Lumilio repository. The id is its identity: never copy this file into another folder.\n"
_DURATION = re.compile(r"(?:\d+(?:\.\d*)?|\.\d+)(?:h|ms|m|s|us|µs|ns)")
_UNIT_S = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}

# BaseLoader keeps every scalar as text: no dates, no "no" for Norway; msgspec decides. The C one where built.
_LOADER: Any = getattr(yaml, "CBaseLoader", yaml.BaseLoader)

_Word = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9_-]*$")]


class _Sync(msgspec.Struct):
    quick_scan_interval: str = "5m"
    full_scan_interval: str = "24h"
    ignore_patterns: list[str] = msgspec.field(default_factory=list[str])


class _Local(msgspec.Struct):
    preserve_original_filename: bool = True
    handle_duplicate_filenames: Literal["rename", "uuid", "overwrite"] = "rename"
    max_file_size: Annotated[int, msgspec.Meta(ge=0)] = 0
    create_backups: bool = False
    backup_path: str = ""


class _File(msgspec.Struct):
    id: UUID
    name: str
    created_at: datetime
    version: str = "1.0"
    storage_strategy: _Word = "date"
    sync_settings: _Sync = msgspec.field(default_factory=_Sync)
    local_settings: _Local = msgspec.field(default_factory=_Local)


def decode(raw: bytes) -> tuple[Marker, dict[str, Any]]:
    """Return the marker in ``raw`` and everything the file says, for :func:`encode` to keep.

    Raises:
        Permanent: it is no marker (``marker_invalid``; ``key`` says where).
    """
    try:
        _check_shape(raw)
        tree: Any = yaml.load(raw, Loader=_LOADER)  # noqa: S506  builds nothing but str, list and dict
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise _invalid("", f"not YAML: {error}") from error
    if not isinstance(tree, dict):
        raise _invalid("", "not a mapping")
    try:
        file = msgspec.convert(tree, _File, strict=False)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at `$")
        raise _invalid(where.strip("`").lstrip("."), what) from error
    if file.version.split(".")[0] != "1":
        raise _invalid("version", f"version {file.version} is newer than this program understands")
    try:
        created_at = (file.created_at if file.created_at.tzinfo else file.created_at.replace(tzinfo=UTC)).astimezone(
            UTC
        )
    except OverflowError as error:
        raise _invalid("created_at", "a time that cannot be reckoned with") from error
    try:
        name = checked_name(file.name)
    except Shape as error:
        raise _invalid("name", error.message) from error
    sync, own = file.sync_settings, file.local_settings
    marker = Marker(
        id=RepositoryId(file.id),
        name=name,
        created_at=created_at,
        storage_strategy=file.storage_strategy,
        version=file.version,
        sync_settings=SyncSettings(
            quick_scan_interval_s=_seconds("sync_settings.quick_scan_interval", sync.quick_scan_interval),
            full_scan_interval_s=_seconds("sync_settings.full_scan_interval", sync.full_scan_interval),
            ignore_patterns=tuple(sync.ignore_patterns),
        ),
        local_settings=LocalSettings(
            preserve_original_filename=own.preserve_original_filename,
            handle_duplicate_filenames=own.handle_duplicate_filenames,
            max_file_size_kb=own.max_file_size,
            create_backups=own.create_backups,
            backup_path=own.backup_path,
        ),
    )
    return marker, tree


def encode(marker: Marker, kept: dict[str, Any] | None = None) -> bytes:
    """Return the file for ``marker``; keys of ``kept`` that we do not know stay as they are (as text).

    Raises:
        Shape: :func:`decode` would refuse it, as it is too large (``marker_too_large``).
    """
    sync, own = marker.sync_settings, marker.local_settings
    known: dict[str, Any] = {
        "version": marker.version,
        "id": str(marker.id),
        "name": marker.name,
        "created_at": marker.created_at.astimezone(UTC).isoformat().replace("+00:00", "Z"),
        "storage_strategy": marker.storage_strategy,
        "sync_settings": {
            "quick_scan_interval": duration_text(sync.quick_scan_interval_s),
            "full_scan_interval": duration_text(sync.full_scan_interval_s),
            "ignore_patterns": list(sync.ignore_patterns),
        },
        "local_settings": {
            "preserve_original_filename": own.preserve_original_filename,
            "handle_duplicate_filenames": own.handle_duplicate_filenames,
            "max_file_size": own.max_file_size_kb,
            "create_backups": own.create_backups,
            "backup_path": own.backup_path,
        },
    }
    for section in ("sync_settings", "local_settings"):
        known[section] = _over((kept or {}).get(section), known[section])
    text: str = yaml.safe_dump(_over(kept, known), sort_keys=False, allow_unicode=True)
    raw = (_HEADER + text).encode()
    try:
        _check_shape(raw)
    except Permanent as error:
        raise Shape(f"these settings do not fit into {NAME}: {error.message}", code="marker_too_large") from error
    return raw


def duration_seconds(text: str) -> float:
    """Return the seconds of a Go duration (``1h30m``, ``5m0s``) or of a plain number of seconds.

    Raises:
        ValueError: it is neither, or negative.
    """
    text = text.strip()
    if re.fullmatch(r"\d+(?:\.\d+)?", text):
        return float(text)
    if not text or _DURATION.sub("", text):
        raise ValueError(text)
    total = 0.0
    for part in _DURATION.findall(text):
        unit = part.lstrip("0123456789.")
        total += float(part[: -len(unit)]) * _UNIT_S[unit]
    return total


def duration_text(seconds: float) -> str:
    """Return ``seconds`` as Go's ``time.Duration`` prints it: ``5m0s``, ``24h0m0s``, ``1.5s``."""
    hours, rest = divmod(seconds, 3600)
    minutes, rest = divmod(rest, 60)
    tail = f"{rest:.9f}".rstrip("0").rstrip(".") + "s"
    if hours:
        return f"{int(hours)}h{int(minutes)}m{tail}"
    return f"{int(minutes)}m{tail}" if minutes else tail


def _seconds(key: str, text: str) -> float:
    try:
        return duration_seconds(text)
    except ValueError as error:
        raise _invalid(key, f"expected a duration such as 5m or a number of seconds, got {text!r}") from error


def _check_shape(raw: bytes) -> None:
    """Refuse, before anything is built, what is no marker by its size or shape.

    The C loader builds a tree by recursion, without a limit: some 200 KB of ``[`` end the process. Events come without.

    Raises:
        Permanent: too large, too deep, too many nodes, or an anchor or alias. yaml.YAMLError: it is no YAML.
    """
    if len(raw) > MAX_BYTES:
        raise _invalid("", f"it is larger than {MAX_BYTES} bytes")
    depth = nodes = 0
    for event in yaml.parse(raw, Loader=_LOADER):
        if isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        elif isinstance(event, yaml.NodeEvent):
            nodes += 1
            depth += isinstance(event, yaml.CollectionStartEvent)
            if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
                raise _invalid("", "anchors and aliases are not understood")
        if depth > DEPTH_MAX or nodes > NODES_MAX:
            raise _invalid("", f"it is nested deeper than {DEPTH_MAX}, or has more than {NODES_MAX} nodes")


def _over(kept: Any, known: dict[str, Any]) -> dict[str, Any]:
    extra = {key: value for key, value in kept.items() if key not in known} if isinstance(kept, dict) else {}
    return known | extra


def _invalid(key: str, what: str) -> Permanent:
    place = f" at {key}" if key else ""
    return Permanent(f"{NAME} is invalid{place}: {what}", code="marker_invalid", key=key)
