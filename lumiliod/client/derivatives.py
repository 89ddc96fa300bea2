"""Derivatives as a whole, through the API."""

import msgspec

from lumiliod.client.connection import UNLIMITED, Connection
from lumiliod.contract.derivatives import DerivativeStatus, PruneTicket, RebuildRequest, Rebuilt


class Derivatives:
    """What can be asked of derivatives; see :class:`lumiliod.client.Client` for what is raised."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def status(self) -> DerivativeStatus:
        """Return how many there are, and what is to be done."""
        return self._connection.get("/derivatives", DerivativeStatus)

    def rebuild(self, wanted: RebuildRequest) -> Rebuilt:
        """Have some made anew."""
        content = msgspec.json.encode(wanted)
        return self._connection.call("POST", "/derivatives/rebuild", Rebuilt, content=content, timeout=UNLIMITED)

    def prune(self) -> PruneTicket:
        """Have those removed that nobody needs; a job does it."""
        return self._connection.call("POST", "/derivatives/prune", PruneTicket)
