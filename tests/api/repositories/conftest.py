"""One daemon for each file of tests, and a repository of its own for each test."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lumiliod.client import Client
from tests.api.repositories.homes import Home
from tests.conftest import Daemon


@pytest.fixture(scope="module")
def served(make_module_daemon: Callable[..., Daemon]) -> Iterator[Daemon]:
    daemon = make_module_daemon().start()
    yield daemon
    assert daemon.stop() == 0


@pytest.fixture
def client(served: Daemon) -> Iterator[Client]:
    with served.client as client:
        yield client


@pytest.fixture
def home(served: Daemon, client: Client, tmp_path: Path) -> Home:
    """Return a repository with an upload and a file of the user area, both understood."""
    return Home(served, client, tmp_path, tmp_path.name)
