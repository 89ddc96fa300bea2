"""Which assets belong together: asked of the rows whenever they are shown, so that neither order nor trash matters."""

from collections import defaultdict
from collections.abc import Iterable

from lumiliod.db import stacks as db_stacks
from lumiliod.db.pool import Connection
from lumiliod.domain.assets import AssetRow
from lumiliod.domain.ids import AssetId, UserId
from lumiliod.domain.stacks import Stack, stacks


def of_rows(conn: Connection, rows: Iterable[AssetRow]) -> dict[AssetId, Stack]:
    """Return the stacks of those assets that are in one."""
    by_owner: dict[UserId, set[AssetId]] = defaultdict(set)
    for row in rows:
        by_owner[row.owner_id].add(row.id)
    found: dict[AssetId, Stack] = {}
    for owner_id, ids in by_owner.items():
        for stack in stacks(db_stacks.near(conn, owner_id, ids)):
            found |= {member.id: stack for member in stack.members if member.id in ids}
    return found
