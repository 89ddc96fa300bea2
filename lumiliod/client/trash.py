"""The trash, through the API."""

from collections.abc import Iterator
from uuid import UUID

import msgspec

from lumiliod.client.connection import UNLIMITED, Connection, segment
from lumiliod.contract.trash import (
    PurgeRequest,
    RemoveRequest,
    RestoreRequest,
    Stray,
    StrayList,
    StrayRestored,
    TrashChanged,
    TrashItem,
    TrashPage,
)

PAGE = 500


class Trash:
    """What can be asked of the trash; see :class:`lumiliod.client.Client` for what is raised."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def page(self, *, limit: int = 50, cursor: str | None = None) -> TrashPage:
        """Return one page of the trash, the latest first."""
        return self._connection.get("/trash", TrashPage, limit=limit, cursor=cursor)

    def all(self) -> Iterator[TrashItem]:
        """Yield everything in the trash, the latest first, page by page."""
        cursor: str | None = None
        while True:
            page = self.page(limit=PAGE, cursor=cursor)
            yield from page.items
            if (cursor := page.next_cursor) is None:
                return

    def show(self, asset_id: UUID) -> TrashItem:
        """Return one asset of the trash."""
        return self._connection.get(f"/trash/{asset_id}", TrashItem)

    def remove_one(self, asset_id: UUID, *, delete_file: bool = False) -> TrashItem:
        """Put one asset into the trash; with ``delete_file`` its files in the user area go, too."""
        params = {"delete_file": "true"} if delete_file else {}
        return self._connection.call("DELETE", f"/assets/{asset_id}", TrashItem, params=params)

    def remove(self, wanted: RemoveRequest) -> TrashChanged:
        """Put assets into the trash."""
        return self._post("/trash", wanted)

    def restore(self, wanted: RestoreRequest) -> TrashChanged:
        """Take assets out of the trash."""
        return self._post("/trash/restore", wanted)

    def purge(self, wanted: PurgeRequest) -> TrashChanged:
        """Remove assets of the trash for good; a job does it."""
        return self._post("/trash/purge", wanted)

    def untracked(self) -> list[Stray]:
        """Return what no row knows in the trash of every repository."""
        return self._connection.get("/trash/untracked", StrayList).items

    def restore_untracked(self, repository: str, stray_id: UUID) -> StrayRestored:
        """Put a file back that no row knows."""
        path = f"/trash/untracked/{segment(repository)}/{stray_id}/restore"
        return self._connection.call("POST", path, StrayRestored)

    def _post(self, path: str, wanted: msgspec.Struct) -> TrashChanged:
        content = msgspec.json.encode(wanted)
        return self._connection.call("POST", path, TrashChanged, content=content, timeout=UNLIMITED)
