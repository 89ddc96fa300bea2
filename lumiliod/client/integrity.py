"""Integrity and mirrors, a method for each thing the API can do."""

from collections.abc import Iterator
from uuid import UUID

import msgspec

from lumiliod.client.connection import UNLIMITED, Connection, given
from lumiliod.contract.integrity import (
    AppliedList,
    Finding,
    FindingPage,
    Ignored,
    IgnoreRequest,
    Mirror,
    MirrorList,
    MirrorTicket,
    NewMirror,
    Plan,
    PlanApproval,
    PlanItem,
    VerifyRequest,
    VerifyTicket,
)
from lumiliod.contract.integrity import Integrity as Overview

PAGE = 500


class Integrity:
    """What the API tells and does of integrity. Every method raises :class:`ApiError` or :class:`Unreachable`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def overview(self) -> Overview:
        """Return how safe the originals are, at one look."""
        return self._connection.get("/integrity", Overview)

    def verify(self, wanted: VerifyRequest) -> VerifyTicket:
        """Ask for a check now."""
        return self._connection.call("POST", "/integrity/verify", VerifyTicket, content=msgspec.json.encode(wanted))

    def findings(
        self, *, state: str | None = None, kind: str | None = None, repository: str | None = None
    ) -> Iterator[Finding]:
        """Yield findings, the newest first, page by page."""
        wanted = given(state=state, kind=kind, repository=repository, limit=PAGE)
        cursor: str | None = None
        while True:
            params = wanted | given(cursor=cursor)
            page = self._connection.call("GET", "/integrity/findings", FindingPage, params=params)
            yield from page.items
            if (cursor := page.next_cursor) is None:
                return

    def ignore(self, ids: list[UUID], *, undo: bool = False) -> Ignored:
        """Have open findings trouble nobody any more, or ignored ones again."""
        content = msgspec.json.encode(IgnoreRequest(ids=ids, undo=undo))
        return self._connection.call("POST", "/integrity/findings/ignore", Ignored, content=content)

    def plan(self) -> Iterator[PlanItem]:
        """Yield what would be done about each open finding, the oldest first, page by page."""
        cursor: str | None = None
        while True:
            page = self._connection.get("/integrity/plan", Plan, cursor=cursor, limit=PAGE)
            yield from page.items
            if (cursor := page.next_cursor) is None:
                return

    def apply(self, approval: PlanApproval) -> AppliedList:
        """Do what is approved."""
        content = msgspec.json.encode(approval)
        return self._connection.call("POST", "/integrity/plan/apply", AppliedList, content=content, timeout=UNLIMITED)

    def mirrors(self) -> list[Mirror]:
        """Return all mirrors, by repository."""
        return self._connection.get("/mirrors", MirrorList).items

    def add_mirror(self, new: NewMirror) -> Mirror:
        """Add a mirror and begin to fill it."""
        return self._connection.call("POST", "/mirrors", Mirror, content=msgspec.json.encode(new))

    def remove_mirror(self, mirror_id: UUID) -> list[Mirror]:
        """Forget a mirror; return those that are left."""
        return self._connection.call("DELETE", f"/mirrors/{mirror_id}", MirrorList).items

    def fill_mirror(self, mirror_id: UUID) -> MirrorTicket:
        """Bring a mirror up to date now."""
        return self._connection.call("POST", f"/mirrors/{mirror_id}/fill", MirrorTicket)
