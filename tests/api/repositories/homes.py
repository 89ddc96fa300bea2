"""A repository of a real daemon, and what is asked of it through the API."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import pytest

from lumiliod.client import ApiError, Client
from lumiliod.contract.repositories import NewRepository, Repository
from tests.conftest import Daemon
from tests.daemon.test_kill import photograph


class Home:
    """A repository of a daemon, at ``root``."""

    def __init__(self, daemon: Daemon, client: Client, folder: Path, name: str, seed: int | None = None) -> None:
        self.daemon, self.client, self.name = daemon, client, name
        self.root = folder / f"{name}-root"
        seed = hash(name) % 10_000 * 10 if seed is None else seed
        (self.root / "Trip").mkdir(parents=True)
        (self.root / "Trip" / "mine.jpg").write_bytes(photograph(seed))
        (self.root / "Trip" / "other.jpg").write_bytes(photograph(seed + 1))
        self.upload = folder / f"{name}.jpg"
        self.upload.write_bytes(photograph(seed + 2))
        self.id = client.add_repository(NewRepository(path=str(self.root), name=name)).id
        client.scan(name)
        client.upload(str(self.upload), repository=name)
        self.settle()

    def settle(self) -> None:
        self.daemon.cli("wait", "--timeout", "60")

    @property
    def now(self) -> Repository:
        return self.client.repository(str(self.id))

    def assets(self) -> dict[UUID, str | None]:
        """Return the assets that are served from here, and where from."""
        return {asset.id: asset.path for asset in self.client.all_assets() if asset.repository_id == self.id}

    def outcomes(self) -> dict[str, str]:
        return {file.path: file.outcome for file in self.client.files(str(self.id))}

    def jobs(self) -> Counter[str]:
        """Count the jobs there ever were for this repository, by kind."""
        return Counter(job.kind for job in self.client.jobs(repository=str(self.id), limit=500).items)


def files_below(root: Path) -> dict[str, tuple[bytes, int]]:
    """Return the bytes and the time of every file of a person's, and of the inbox."""
    found = (path for path in root.rglob("*") if path.is_file() and ".lumilio" not in str(path.relative_to(root)))
    return {str(path.relative_to(root)): (path.read_bytes(), path.stat().st_mtime_ns) for path in found}


def code(act: Callable[[], object]) -> str:
    with pytest.raises(ApiError) as caught:
        act()
    return f"{caught.value.problem.status} {caught.value.problem.code}"
