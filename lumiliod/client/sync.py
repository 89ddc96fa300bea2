"""Keeping in step with the disk, through the API."""

from collections.abc import Iterator
from typing import TypeVar
from uuid import UUID

import msgspec

from lumiliod.client.connection import UNLIMITED, Connection, given, segment
from lumiliod.contract.live import Trouble
from lumiliod.contract.repositories import ScanTicket
from lumiliod.contract.sync import (
    Decision,
    HeldDeletions,
    HeldFilePage,
    HeldList,
    LiveSync,
    RepositorySync,
    SyncOperation,
    SyncOperationPage,
    SyncOverview,
    SyncPlanPage,
    SyncRequest,
    SyncTicket,
)

T = TypeVar("T")


class Sync:
    """Runs, plans and held deletions; see :class:`lumiliod.client.Client` for what is raised."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def overview(self) -> list[RepositorySync]:
        """Return how every repository is kept in step, by name."""
        return self._connection.get("/sync", SyncOverview).items

    def show(self, ref: str) -> RepositorySync:
        """Return how one repository is kept in step."""
        return self._connection.get(f"/repositories/{segment(ref)}/sync", RepositorySync)

    def operations(
        self,
        *,
        repository: str | None = None,
        type_: str | None = None,
        status: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> SyncOperationPage:
        """Return one page of runs, the newest first; ``repository`` is a name or an id."""
        params = given(repository=repository, type=type_, status=status, limit=limit, cursor=cursor)
        return self._connection.call("GET", "/sync/operations", SyncOperationPage, params=params)

    def operation(self, operation_id: UUID) -> SyncOperation:
        """Return one run."""
        return self._connection.get(f"/sync/operations/{operation_id}", SyncOperation)

    def run(self, ref: str, *, folder: str = "", plan: bool = False) -> SyncTicket:
        """Ask for a scan, or for the plan of one; ``folder``: its bytes quoted as in a URL."""
        return self._post(f"/repositories/{segment(ref)}/sync", SyncTicket, SyncRequest(folder=folder, plan=plan))

    def plan(
        self, plan_id: UUID, *, action: str | None = None, limit: int = 100, cursor: str | None = None
    ) -> SyncPlanPage:
        """Return a plan that is made, and one page of its entries, by path."""
        params = given(action=action, limit=limit, cursor=cursor)
        return self._connection.call("GET", f"/sync/plans/{plan_id}", SyncPlanPage, params=params)

    def held(self) -> list[HeldDeletions]:
        """Return what is held, the longest held first."""
        return self._connection.get("/sync/held", HeldList).items

    def held_files(self, ref: str, *, limit: int = 50, cursor: str | None = None) -> HeldFilePage:
        """Return one page of the paths of a repository that are held."""
        params = given(limit=limit, cursor=cursor)
        return self._connection.call("GET", f"/repositories/{segment(ref)}/held", HeldFilePage, params=params)

    def approve(self, ref: str, plan_id: UUID | None = None) -> ScanTicket:
        """Believe that what is held is missing; ``plan_id``: as it was shown, and not otherwise."""
        return self._post(f"/repositories/{segment(ref)}/held/approve", ScanTicket, Decision(plan_id=plan_id))

    def reject(self, ref: str, plan_id: UUID | None = None) -> HeldDeletions:
        """Keep the records of what is held as they are; ``plan_id``: as it was shown, and not otherwise."""
        return self._post(f"/repositories/{segment(ref)}/held/reject", HeldDeletions, Decision(plan_id=plan_id))

    def watch(self) -> Iterator[LiveSync | Trouble]:
        """Yield the newest runs whenever one begins or ends, without an end."""
        for _, told in self._connection.events("/sync/live", {"runs": LiveSync, "trouble": Trouble}):
            yield told

    def _post(self, path: str, kind: type[T], wanted: msgspec.Struct) -> T:
        content = msgspec.json.encode(wanted)
        return self._connection.call("POST", path, kind, content=content, timeout=UNLIMITED)
