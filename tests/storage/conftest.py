import itertools
import os
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lumiliod.storage.repository import Repository, create
from lumiliod.storage.s3 import S3Backend
from lumiliod.testing import proxy
from lumiliod.testing.proxy import Proxy
from tests.disks import tmpfs

# One request after the other: what the server checks and then does is one step, as it is in S3.
SERVER = """
import io, threading
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

one, many = threading.Lock(), DomainDispatcherApplication(create_backend_app)

def application(environ, start_response):
    environ["wsgi.input"] = io.BytesIO(environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0)))
    with one:
        return [b"".join(many(environ, start_response))]

server = make_server("127.0.0.1", 0, application, threaded=True)
print(server.port, flush=True)
server.serve_forever()
"""

OpenBucket = Callable[..., S3Backend]
_numbers = itertools.count()


@pytest.fixture
def repo(tmp_path: Path) -> Repository:
    root = tmp_path / "library"
    root.mkdir()
    return create(str(root), "Library")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB; skipped where none can be mounted."""
    with tmpfs(tmp_path / "disk", "4m") as path:
        yield path


@pytest.fixture(scope="session")
def s3_port() -> Iterator[int]:
    """Run an S3 server for the whole session; return its port on the loopback."""
    command = [sys.executable, "-W", "ignore", "-c", SERVER]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as server:
        assert server.stdout is not None
        try:
            yield int(server.stdout.readline())
        finally:
            server.terminate()


@pytest.fixture
def bucket(s3_port: int) -> str:
    """Return the name of an empty bucket."""
    name = f"bucket-{next(_numbers)}"
    request = urllib.request.Request(f"http://127.0.0.1:{s3_port}/{name}", method="PUT")
    with urllib.request.urlopen(request) as answer:
        assert answer.status == 200
    return name


@pytest.fixture
def open_bucket(bucket: str, s3_port: int, monkeypatch: pytest.MonkeyPatch) -> OpenBucket:
    """Return a function that opens a prefix of the bucket: ``(prefix="", **options)``."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)

    def opened(prefix: str = "", **options: str) -> S3Backend:
        defaults = {
            "endpoint": f"http://127.0.0.1:{s3_port}",
            "allow_http": "true",
            "region": "us-east-1",
            "access_key_id": "key",
            "secret_access_key": "secret",
        }
        return S3Backend(f"s3://{bucket}/{prefix}", defaults | options)

    return opened


@pytest.fixture
def breaking(s3_port: int) -> Iterator[Proxy]:
    """Run a proxy in front of the S3 server that breaks what its rule says."""
    with proxy.running("127.0.0.1", s3_port) as running:
        yield running
