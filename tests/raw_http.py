"""Requests to a daemon's socket that no client of ours would send."""

import http.client
import socket

from tests.conftest import Daemon


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("lumilio", timeout=30)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(30)
        self.sock.connect(self.path)


def ask(daemon: Daemon, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
    """Send a request for a path of the API; return the status and the body of the answer."""
    connection = UnixConnection(daemon.socket)
    connection.request(method, f"/api/v1{path}", body=body)
    answer = connection.getresponse()
    told = answer.read()
    connection.close()
    return answer.status, told
