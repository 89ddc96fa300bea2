"""The life of repositories, through the API."""

from typing import TypeVar

import msgspec

from lumiliod.client.connection import UNLIMITED, Connection, given, segment
from lumiliod.contract.relayout import Relayout, RelayoutPlan, RelayoutRequest, RelayoutTicket, UndoPlan
from lumiliod.contract.repositories import (
    Attached,
    Attachment,
    Relocation,
    RemovalPlan,
    Removed,
    Repository,
    RepositoryChange,
)

T = TypeVar("T")


class Repositories:
    """What can be done with repositories; see :class:`lumiliod.client.Client` for what is raised."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def change(self, ref: str, wanted: RepositoryChange) -> Repository:
        """Change settings; what is None stays as it is."""
        named = {key: value for key, value in msgspec.structs.asdict(wanted).items() if value is not None}
        content = msgspec.json.encode(named)
        return self._connection.call("PATCH", f"/repositories/{segment(ref)}", Repository, content=content)

    def relocate(self, ref: str, path: str) -> Attached:
        """Say where a repository lies now."""
        return self._post(f"/repositories/{segment(ref)}/relocate", Attached, Relocation(path=path))

    def attach(self, wanted: Attachment) -> Attached:
        """Take a detached repository back, or a copy as one of its own."""
        return self._post("/repositories/attach", Attached, wanted)

    def detach(self, ref: str) -> Repository:
        """Put a repository away."""
        return self._post(f"/repositories/{segment(ref)}/detach", Repository)

    def removal(self, ref: str) -> RemovalPlan:
        """Tell what removing a repository would do."""
        return self._connection.get(f"/repositories/{segment(ref)}/removal", RemovalPlan)

    def remove(self, ref: str, *, forget: str | None = None) -> Removed:
        """Remove a repository from the library; one with assets or uploads only where ``forget`` is its name."""
        path, params = f"/repositories/{segment(ref)}", given(forget=forget)
        return self._connection.call("DELETE", path, Removed, params=params, timeout=UNLIMITED)

    def plan_relayout(self, ref: str, to: str) -> RelayoutPlan:
        """Tell what bringing an inbox into the layout ``to`` would do."""
        return self._post(f"/repositories/{segment(ref)}/relayout/plan", RelayoutPlan, RelayoutRequest(to=to))

    def relayout(self, ref: str, to: str, *, verify: bool = False) -> RelayoutTicket:
        """Begin to bring an inbox into the layout ``to``, or go on with that; ``verify``: read every file first."""
        wanted = RelayoutRequest(to=to, verify=verify)
        return self._post(f"/repositories/{segment(ref)}/relayout", RelayoutTicket, wanted)

    def plan_undo(self, ref: str) -> UndoPlan:
        """Tell what undoing the last re-layout would do."""
        return self._connection.get(f"/repositories/{segment(ref)}/relayout/undo", UndoPlan)

    def undo_relayout(self, ref: str) -> RelayoutTicket:
        """Undo the last re-layout."""
        return self._post(f"/repositories/{segment(ref)}/relayout/undo", RelayoutTicket)

    def last_relayout(self, ref: str) -> Relayout:
        """Return how far the last re-layout is."""
        return self._connection.get(f"/repositories/{segment(ref)}/relayout", Relayout)

    def _post(self, path: str, kind: type[T], wanted: msgspec.Struct | None = None) -> T:
        content = None if wanted is None else msgspec.json.encode(wanted)
        return self._connection.call("POST", path, kind, content=content, timeout=UNLIMITED)
