"""What a disk holds and what the catalogue says of it, told independently of each other, and where they differ."""

import os
import stat
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
from blake3 import blake3

from bench.watching.contents import is_picture
from bench.watching.tree import is_met
from lumiliod.domain.sidecars import is_sidecar

State = tuple[int, int, int]
"""Bytes, mtime in ns and inode."""

_RECORDS = """
SELECT f.path, f.outcome, f.size_bytes, f.mtime_ns, f.inode, encode(f.digest, 'hex'), f.asset_id,
       encode(a.digest, 'hex'), a.deleted_at IS NOT NULL, a.status
FROM file_records f LEFT JOIN assets a ON a.id = f.asset_id
WHERE f.repository_id = %s AND f.missing_since IS NULL"""

_HOMELESS = """
SELECT a.id::text FROM assets a
WHERE a.deleted_at IS NULL
  AND NOT EXISTS (SELECT 1 FROM file_records f
                  WHERE f.asset_id = a.id AND f.outcome = 'asset' AND f.missing_since IS NULL)
UNION ALL
SELECT t.asset_id::text FROM trash t JOIN file_records f ON f.asset_id = t.asset_id
WHERE f.outcome IN ('asset', 'duplicate') AND f.missing_since IS NULL"""

_JOBS = """
SELECT count(*) FILTER (WHERE state <> 'discarded'),
       coalesce(array_agg(kind || ' ' || coalesce(errors -> -1 ->> 'message', ''))
                FILTER (WHERE state = 'discarded'), '{}')
FROM jobs WHERE kind = ANY (%s)"""

KINDS = ["scan", "ingest", "retire"]
"""Jobs without which the catalogue is not finished."""


@dataclass(frozen=True, slots=True)
class OnDisk:
    """A file: its state, its digest where a walk reads it, and which outcomes are right."""

    state: State
    digest: str | None
    outcomes: tuple[str, ...]


_LEFT_OUT = ("ignored",)
_PICTURE = ("asset", "duplicate")
_SIDECAR = ("sidecar",)
_REFUSED = ("unsupported", "corrupt")


def on_disk(root: bytes) -> dict[bytes, OnDisk]:
    """Read everything below a root that a walk meets; folders it leaves out are not entered."""
    found: dict[bytes, OnDisk] = {}
    for folder, folders, names in os.walk(root):
        prefix = folder[len(root) + 1 :] + b"/" if folder != root else b""
        folders[:] = [name for name in folders if is_met(name) and not os.path.islink(os.path.join(folder, name))]
        links = [name for name in os.listdir(folder) if os.path.islink(os.path.join(folder, name))]
        for name in {*names, *links}:
            if prefix or name != b".lumiliorepo":
                found[prefix + name] = _looked_at(os.path.join(folder, name), name)
    return {path: file for path, file in found.items() if not path.startswith((b"inbox/", b".lumilio/"))}


def _looked_at(path: bytes, name: bytes) -> OnDisk:
    there = os.lstat(path)
    state = there.st_size, there.st_mtime_ns, there.st_ino
    if not stat.S_ISREG(there.st_mode) or not is_met(name):
        return OnDisk(state, None, _LEFT_OUT)
    data = Path(os.fsdecode(path)).read_bytes()
    if is_picture(data):
        return OnDisk(state, blake3(data).hexdigest(), _PICTURE)
    return OnDisk(state, None, _SIDECAR if is_sidecar(os.fsdecode(name)) else _REFUSED)


class Catalogue:
    """What the library says of a repository, asked of its database."""

    def __init__(self, conn: "psycopg.Connection[Any]", repository_id: UUID) -> None:
        self.conn = conn
        self._id = repository_id

    def differences(self, disk: dict[bytes, OnDisk], *, with_left_out: bool = True) -> list[str]:
        """Return in what it is not exactly what the disk is; nothing when it is.

        Args:
            disk: what it holds.
            with_left_out: whether it has to know files, too, whose names are left out, which wake nobody.
        """
        told: list[str] = []
        originals: Counter[UUID] = Counter()
        holders: dict[str, set[UUID]] = {}
        rows = self.conn.execute(_RECORDS, (self._id,)).fetchall()
        recorded = {row[0]: row[1:] for row in rows}
        if not with_left_out:
            disk = {path: file for path, file in disk.items() if is_met(path)}
            recorded = {path: row for path, row in recorded.items() if is_met(path)}
        told += [f"no record: {path!r}" for path in disk.keys() - recorded.keys()]
        told += [f"no file: {path!r} ({recorded[path][0]})" for path in recorded.keys() - disk.keys()]
        for path in disk.keys() & recorded.keys():
            outcome, size, mtime, inode, digest, asset, its_digest, is_deleted, status = recorded[path]
            file = disk[path]
            if (size, mtime, inode) != file.state:
                told.append(f"state: {path!r} is {file.state}, not {(size, mtime, inode)}")
            if outcome not in file.outcomes:
                told.append(f"outcome: {path!r} is {outcome}, not {file.outcomes}")
            elif file.digest is not None:
                originals[asset] += outcome == "asset"
                holders.setdefault(file.digest, set()).add(asset)
                if not digest == its_digest == file.digest:
                    told.append(f"digest: {path!r} is {file.digest[:8]}, not {digest}, its asset's {its_digest}")
                if is_deleted or status == "undecodable":
                    told.append(f"asset: that of {path!r} is {status}, deleted: {is_deleted}")
        told += [f"assets: {len(found)} have {digest}" for digest, found in holders.items() if len(found) > 1]
        told += [f"originals: {asset} has {count}" for asset, count in originals.items() if count != 1]
        told += [f"homeless: {asset}" for (asset,) in self.conn.execute(_HOMELESS)]
        return told

    def open_jobs(self) -> tuple[int, list[str]]:
        """Return how many jobs may change it still, and those that were given up."""
        row = self.conn.execute(_JOBS, (KINDS,)).fetchone()
        assert row is not None
        return int(row[0]), list(row[1])


def few(told: Iterable[str], count: int = 12) -> str:
    """Return some differences in lines."""
    lines = list(told)
    more = [f"... and {len(lines) - count} more"] if len(lines) > count else []
    return "".join(f"\n    {line}" for line in [*lines[:count], *more])
