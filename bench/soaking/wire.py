"""Requests for which the client has no method."""

import http.client
import socket
from collections.abc import Mapping

TIMEOUT_S = 30.0


def ask(
    socket_path: str, method: str, path: str, headers: Mapping[str, str], body: bytes | None = None
) -> tuple[int, bytes]:
    """Send one request to the daemon; return status and body of its answer.

    Raises:
        OSError, http.client.HTTPException: there is none.
    """
    connection = http.client.HTTPConnection("lumilio", timeout=TIMEOUT_S)
    connection.sock = socket.socket(socket.AF_UNIX)
    try:
        connection.sock.settimeout(TIMEOUT_S)
        connection.sock.connect(socket_path)
        connection.request(method, f"/api/v1{path}", body, dict(headers))
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()
