import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

import pytest
import trio
from blake3 import blake3

from lumiliod.domain.assets import FileStat
from lumiliod.domain.errors import Conflict, NotFound, Unavailable
from lumiliod.domain.ids import Digest, RepoPath
from lumiliod.domain.naming import digest_uuid
from lumiliod.domain.repositories import DuplicateNames
from lumiliod.storage import originals
from lumiliod.storage.backend import Entry
from lumiliod.storage.cas import CasLayout
from lumiliod.storage.date import DateLayout
from lumiliod.storage.flat import FlatLayout
from lumiliod.storage.layout import Layout, Placing
from lumiliod.storage.local import LocalBackend
from lumiliod.storage.originals import Placed
from lumiliod.storage.repository import Repository
from tests import meanwhile

TAKEN = datetime(2024, 7, 1)  # noqa: DTZ001  a wall clock


def commit(
    repo: Repository,
    content: bytes,
    filename: str = "a.jpg",
    layout: Layout | None = None,
    policy: DuplicateNames = "rename",
) -> Placed:
    digest = Digest(blake3(content).hexdigest())
    staged = Path(repo.incoming, digest)
    staged.write_bytes(content)
    item = Placing(filename, ".jpg", digest, TAKEN)
    return originals.commit(repo, LocalBackend(repo.root), layout or DateLayout(), str(staged), item, policy)


def test_commit_places_once(repo: Repository) -> None:
    first = commit(repo, b"one")
    assert (first.path, first.created, first.stat.size_bytes) == ("inbox/2024/07/a.jpg", True, 3)
    again = commit(repo, b"one")
    assert (again.path, again.created) == (first.path, False)
    assert commit(repo, b"two").path == "inbox/2024/07/a (1).jpg"
    assert commit(repo, b"three").path == "inbox/2024/07/a (2).jpg"
    assert commit(repo, b"two").created is False
    assert Path(repo.root, first.path).read_bytes() == b"one"


def test_what_goes_with_its_folder_is_placed_again(repo: Repository) -> None:
    """A person renames, or removes, the folder in the moment in which the file came."""
    folder, elsewhere = Path(repo.root, "inbox", "2024"), Path(repo.root, "Mine")

    def rename(_args: object) -> None:
        if (folder / "07" / "a.jpg").exists() and not elsewhere.exists():
            folder.rename(elsewhere)

    with meanwhile.before("open", rename):
        placed = commit(repo, b"one")
    assert (placed.path, placed.created) == ("inbox/2024/07/a.jpg", True)
    assert Path(repo.root, placed.path).read_bytes() == b"one"
    assert (elsewhere / "07" / "a.jpg").read_bytes() == b"one"


def test_a_root_that_goes_says_nothing_of_the_upload(repo: Repository, tmp_path: Path) -> None:
    def unmount(_args: object) -> None:
        if Path(repo.inbox).exists():
            Path(repo.root).rename(tmp_path / "away")

    with meanwhile.before("os.mkdir", unmount), pytest.raises(Unavailable) as caught:
        commit(repo, b"one")
    assert caught.value.code == "repository_offline"
    assert Path(tmp_path, "away", os.path.relpath(repo.incoming, repo.root)).is_dir()


def test_a_layout_that_changed_after_a_crash_makes_no_second_copy(repo: Repository) -> None:
    commit(repo, b"zero", layout=DateLayout())
    first = commit(repo, b"one", layout=DateLayout())
    again = commit(repo, b"one", layout=FlatLayout())
    assert (again.path, again.created) == (first.path, False) == ("inbox/2024/07/a (1).jpg", False)
    assert not Path(repo.root, "inbox/a.jpg").exists()


@pytest.mark.parametrize("policy", ["rename", "uuid", "overwrite"])
def test_policies_never_replace_and_repeat(repo: Repository, policy: DuplicateNames) -> None:
    commit(repo, b"one", policy=policy)
    second = commit(repo, b"two", policy=policy)
    uuid = digest_uuid(Digest(blake3(b"two").hexdigest()))
    assert second.path == f"inbox/2024/07/a{f'_{uuid}' if policy == 'uuid' else ' (1)'}.jpg"
    again = commit(repo, b"two", policy=policy)
    assert (again.path, again.created) == (second.path, False)
    assert len(os.listdir(f"{repo.inbox}/2024/07")) == 2


def test_a_damaged_content_address_is_kept_and_stepped_around(repo: Repository) -> None:
    placed = commit(repo, b"one", layout=CasLayout())
    Path(repo.absolute(placed.path)).unlink()
    Path(repo.absolute(placed.path)).write_bytes(b"bad")
    assert commit(repo, b"one", layout=CasLayout()).path == placed.path.replace(".jpg", " (1).jpg")


def test_without_names_the_digest_is_the_name(repo: Repository) -> None:
    settings = replace(repo.marker.local_settings, preserve_original_filename=False)
    nameless = replace(repo, marker=replace(repo.marker, local_settings=settings))
    assert commit(nameless, b"one").path == f"inbox/2024/07/{blake3(b'one').hexdigest()}.jpg"


class Picky:
    """A layout whose names no file system takes, but for digests."""

    name = "picky"

    def place(self, item: Placing) -> RepoPath:
        return RepoPath(f"inbox/{item.filename}" if len(item.filename) > 60 else "inbox/" + "x" * 300)


def test_a_name_the_disk_cannot_hold_gives_way_to_the_digest(repo: Repository) -> None:
    assert commit(repo, b"one", layout=Picky()).path == f"inbox/{blake3(b'one').hexdigest()}.jpg"


class Full:
    """A backend where every name is taken."""

    atomic_no_replace = True
    local = False
    flaky = False

    def open(self, path: RepoPath) -> BinaryIO:
        raise NotFound("none")

    def put_new(self, source: str, target: RepoPath) -> bool:
        raise Conflict("taken", code="name_taken")

    def stat(self, path: RepoPath) -> FileStat:
        raise NotFound("none")

    def list(self, after: RepoPath | None, limit: int) -> Sequence[Entry]:
        return []

    def remove(self, path: RepoPath) -> None:
        return None


def test_the_search_for_a_name_ends(repo: Repository) -> None:
    item = Placing("a.jpg", ".jpg", Digest("ab" * 32), TAKEN)
    with pytest.raises(Conflict) as caught:
        originals.commit(repo, Full(), FlatLayout(), "/none", item, "rename")
    assert caught.value.code == "name_taken"


CRASH = """
import os, sys
from datetime import datetime
from lumiliod.storage import durable, originals
from lumiliod.storage.date import DateLayout
from lumiliod.storage.layout import Placing
from lumiliod.storage.local import LocalBackend
from lumiliod.storage.repository import open_repository

root, staged, digest, step, links = sys.argv[1:]
repo = open_repository(root)
left = int(step)

def dying(event, args):
    global left
    steps = {"os.link", "os.mkdir", "os.rename", "os.remove", "os.utime"}
    if event in steps or (event == "open" and args[2] & os.O_CREAT):
        left -= 1
        if left < 0:
            os.kill(os.getpid(), 9)

sys.addaudithook(dying)
backend = LocalBackend(root, hard_links=links == "1")
originals.commit(repo, backend, DateLayout(), staged, Placing("a.jpg", ".jpg", digest, datetime(2024, 7, 1)), "rename")
"""


@pytest.mark.parametrize("links", ["1", "0"])
def test_killed_at_every_step_and_done_again(repo: Repository, links: str) -> None:
    digest = blake3(b"one").hexdigest()
    staged = Path(repo.incoming, digest)
    for step in range(20):
        staged.write_bytes(b"one")
        run = subprocess.run([sys.executable, "-c", CRASH, repo.root, staged, digest, str(step), links])
        assert run.returncode in {0, -9}
        assert staged.read_bytes() == b"one"
        placed = commit(repo, b"one")
        assert placed.path == "inbox/2024/07/a.jpg"
        assert os.listdir(f"{repo.inbox}/2024/07") == ["a.jpg"]
        assert Path(repo.absolute(placed.path)).read_bytes() == b"one"
        if run.returncode == 0:
            assert step >= 2
            return
        Path(repo.absolute(placed.path)).unlink()
        os.rmdir(f"{repo.inbox}/2024/07")
        os.rmdir(f"{repo.inbox}/2024")
    pytest.fail("never ran to its end")


async def test_storing_stops_when_its_caller_is_cancelled(repo: Repository) -> None:
    source = Path(repo.incoming, "huge")
    target = Path(repo.inbox, "huge")
    for path in (source, target):
        with path.open("wb") as file:
            file.truncate(1 << 40)
    for name in ("huge", "other"):
        with trio.move_on_after(0.2) as scope:
            backend = LocalBackend(repo.root, hard_links=False)
            await trio.to_thread.run_sync(backend.put_new, str(source), RepoPath(f"inbox/{name}"))
        assert scope.cancelled_caught
    assert os.listdir(repo.inbox) == ["huge"]
    assert os.listdir(repo.temp) == []
