"""What has a name or an id in common with an asset: all that must be known to tell its stack."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from psycopg.rows import dict_row

from lumiliod.db.pool import Connection
from lumiliod.db.sql import Queries
from lumiliod.domain.ids import AssetId, RepoPath, UserId, path_bytes, path_from_bytes
from lumiliod.domain.media import AssetType, TakenSource, TzSource
from lumiliod.domain.stacks import EXTENSIONS, MANY, Captured, Member, Place

Q = Queries(__file__)

ROUNDS = 8
"""From a name to an id to a burst to a name: more steps are made up by nobody but to be a nuisance."""
PLACES = 32
"""Of a file with more copies only the one counts that it is served from."""


@dataclass(slots=True)
class Keys:
    """Names and ids by which more is found."""

    stems: set[tuple[UUID, bytes]] = field(default_factory=set)
    content_ids: set[str] = field(default_factory=set)
    burst_ids: set[str] = field(default_factory=set)

    def add(self, member: Member) -> None:
        """Add what a member is called by."""
        self.stems |= {_stem(place) for place in member.places if place.stem is not None}
        if member.content_id is not None:
            self.content_ids.add(member.content_id)
        if member.burst_id is not None:
            self.burst_ids.add(member.burst_id)

    def beyond(self, asked: "Keys") -> "Keys":
        """Return those that were not asked for."""
        return Keys(self.stems - asked.stems, self.content_ids - asked.content_ids, self.burst_ids - asked.burst_ids)

    def __bool__(self) -> bool:
        return bool(self.stems or self.content_ids or self.burst_ids)


def near(conn: Connection, owner_id: UserId, ids: Collection[AssetId]) -> list[Member]:
    """Return these of an owner's assets and all that may be in one stack with any of them; not from the trash.

    Two statements as a rule, however many they are: one of their ids, one of their names.
    """
    members: dict[AssetId, Member] = {}
    asked, keys = Keys(), Keys()
    wanted: Collection[AssetId] = ids
    for _ in range(ROUNDS):
        new = _found(conn, owner_id, wanted, keys, members)
        members |= {member.id: member for member in new}
        known = Keys()
        for member in new:
            known.add(member)
        asked = Keys(asked.stems | keys.stems, asked.content_ids | keys.content_ids, asked.burst_ids | keys.burst_ids)
        keys, wanted = known.beyond(asked), ()
        if not keys:
            break
    return list(members.values())


def parameters(
    owner_id: UserId, ids: Iterable[AssetId], keys: Keys, known_ids: Iterable[AssetId] = ()
) -> dict[str, Any]:
    """Return what the one query is given to find assets by their ids, names and cameras' ids, but those known."""
    stems = sorted(keys.stems)
    return {
        "owner_id": owner_id,
        "ids": list(ids),
        "repository_ids": [repository_id for repository_id, _ in stems],
        "stems": [stem for _, stem in stems],
        "extensions": [extension.encode() for extension in EXTENSIONS],
        "content_ids": sorted(keys.content_ids),
        "burst_ids": sorted(keys.burst_ids),
        "known_ids": list(known_ids),
        "many": MANY + 1,
        "places": PLACES + 1,
    }


def _found(
    conn: Connection, owner_id: UserId, ids: Iterable[AssetId], keys: Keys, known_ids: Iterable[AssetId]
) -> list[Member]:
    with conn.cursor(row_factory=dict_row) as cursor:
        return [_member(row) for row in cursor.execute(Q["members"], parameters(owner_id, ids, keys, known_ids))]


def _member(row: dict[str, Any]) -> Member:
    captured = None
    if row["taken_source"] == TakenSource.CAPTURE:
        captured = Captured(row["taken_at"], row["taken_at_local"], row["tz_source"] != TzSource.UNKNOWN)
    return Member(
        AssetId(row["id"]),
        _places(row["places"]),
        AssetType(row["type"]),
        row["mime_type"],
        row["duration_s"],
        row["content_id"],
        row["burst_id"],
        captured,
        row["camera_model"],
        row["leads"],
    )


def _places(raw: list[bytes]) -> tuple[Place, ...]:
    counted = raw if len(raw) <= PLACES else [one for one in raw if one[16]]
    return tuple(sorted(_place(UUID(bytes=bytes(one[:16])), one[17:]) for one in counted))


def _place(repository_id: UUID, raw: bytes) -> Place:
    folder, _, name = path_from_bytes(raw).rpartition("/")
    return Place(f"{repository_id}/{folder}", name)


def _stem(place: Place) -> tuple[UUID, bytes]:
    """Return what the names begin with that pair with one."""
    repository_id, _, folder = place.folder.partition("/")
    start = f"{folder}/{place.stem}." if folder else f"{place.stem}."
    return UUID(repository_id), path_bytes(RepoPath(start))
