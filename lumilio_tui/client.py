"""One look at the daemon, for the console."""

from dataclasses import dataclass

from lumiliod.client import Client
from lumiliod.contract.repositories import Repository
from lumiliod.contract.status import Health, Status


@dataclass(frozen=True)
class Overview:
    """What the dashboard shows, asked for at one moment."""

    health: Health
    status: Status
    repositories: list[Repository]


def look(client: Client) -> Overview:
    """Ask the daemon how it is. Blocks; call it in a thread.

    Raises:
        ClientError: nobody answered, or with a problem.
    """
    return Overview(client.health(), client.status(), client.repositories())
