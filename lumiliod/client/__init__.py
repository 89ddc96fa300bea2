"""The API's client: contract types in and out, over the daemon's Unix socket."""

from lumiliod.client.client import DEFAULT_SOCKET, PAGE, Client, Progress, Verb
from lumiliod.client.connection import ApiError, ClientError, Unreachable
from lumiliod.client.feed import Happening

__all__ = [
    "DEFAULT_SOCKET",
    "PAGE",
    "ApiError",
    "Client",
    "ClientError",
    "Happening",
    "Progress",
    "Unreachable",
    "Verb",
]
