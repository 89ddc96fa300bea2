"""Much that is missing at once waits for a person: what was shown is decided about, and nothing else."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from lumiliod.db import scans
from lumiliod.db.pool import Connection
from lumiliod.domain.errors import Conflict, LumilioError, NotFound, Unavailable
from lumiliod.domain.ids import RepositoryId, uuid7
from lumiliod.library import held, status
from lumiliod.runtime import Runtime
from tests.pipeline import shelf as shelves
from tests.pipeline.shelf import Shelf
from tests.watch import scanning
from tests.watch.scanning import asked_for, recorded, scanned, settled, versions


@pytest.fixture
def shelf(conninfo: str, tmp_path: Path) -> Shelf:
    return shelves.make(conninfo, tmp_path / "home")


def plant(shelf: Shelf, folder: str, count: int, first: int = 0) -> None:
    (shelf.path / folder).mkdir(parents=True, exist_ok=True)
    for number in range(first, first + count):
        (shelf.path / folder / f"{number:03}.jpg").write_bytes(b"x")


def unmount(shelf: Shelf, folder: str) -> None:
    """Take a folder away as an unmounted disk does: its place is there, and nothing in it."""
    away = shelf.path.with_name("away")
    away.mkdir(exist_ok=True)
    (shelf.path / folder).rename(away / folder)
    (shelf.path / folder).mkdir()


def mount(shelf: Shelf, folder: str) -> None:
    (shelf.path / folder).rmdir()
    (shelf.path.with_name("away") / folder).rename(shelf.path / folder)


async def planted(rt: Runtime, shelf: Shelf, **folders: int) -> None:
    for folder, count in folders.items():
        plant(shelf, folder, count)
    await scanned(rt, shelf)
    settled(shelf)


async def pending(rt: Runtime) -> list[tuple[str, int, int]]:
    return [(one.state, one.files, one.known) for one in (await held.list_all(rt)).items]


async def approved(rt: Runtime) -> dict[str, Any]:
    return await scanning.ended(rt, await held.approve(rt, "home"))


def there(shelf: Shelf) -> int:
    return len(recorded(shelf))


async def test_what_is_held_is_shown_and_marked_once_it_is_approved(shelf: Shelf) -> None:
    async with scanning.scanning(shelf) as rt:
        await planted(rt, shelf, a=60, b=40)
        unmount(shelf, "a")
        result = await scanned(rt, shelf)
        assert (result["status"], result["missing"]) == ("held", 0)
        assert "60 of 100 files are missing at once" in result["note"]
        [one] = (await held.list_all(rt)).items
        assert (one.repository, one.state, one.files, one.known) == ("home", "held", 60, 100)
        assert one.examples == [f"a/{number:03}.jpg" for number in range(5)]
        assert (await status.status(rt)).held_repositories == ["home"]
        # asked once, since then
        await scanned(rt, shelf)
        [again] = (await held.list_all(rt)).items
        assert (again.plan_id, again.since) == (one.plan_id, one.since)
        assert there(shelf) == 100
        result = await scanning.ended(rt, await held.approve(rt, "home", one.plan_id))
        assert (result["status"], result["missing"], result["note"]) == ("completed", 60, None)
        assert there(shelf) == 40
        assert await pending(rt) == []
        assert shelf.sql("SELECT 1 FROM held_files") == []
        assert (await status.status(rt)).held_repositories == []


async def test_every_path_that_is_held_can_be_looked_at(shelf: Shelf) -> None:
    strange = b"\xff\n".join([b"a/", b".jpg"])
    async with scanning.scanning(shelf) as rt:
        (shelf.path / "a").mkdir()
        Path(os.fsdecode(os.path.join(os.fsencode(shelf.root), strange))).write_bytes(b"x")
        await planted(rt, shelf, a=60)
        unmount(shelf, "a")
        await scanned(rt, shelf)
        found, cursor = list[str](), None
        while True:
            page = await held.files(rt, "home", cursor=cursor, limit=7)
            found += page.items
            if (cursor := page.next_cursor) is None:
                break
        assert found == [*(f"a/{number:03}.jpg" for number in range(60)), "a/\\xff\n.jpg"]


async def test_what_comes_back_is_held_no_longer_and_nothing_is_processed(shelf: Shelf) -> None:
    async with scanning.scanning(shelf) as rt:
        await planted(rt, shelf, a=60, b=40)
        before = versions(shelf)
        unmount(shelf, "a")
        await scanned(rt, shelf)
        mount(shelf, "a")
        result = await scanned(rt, shelf)
        assert (result["status"], result["note"], result["changed"]) == ("completed", None, 0)
        assert await pending(rt) == []
        assert versions(shelf) == before
        assert asked_for(shelf) == set()
        with pytest.raises(Conflict) as caught:
            await held.approve(rt, "home")
        assert caught.value.code == "nothing_held"


async def test_a_scan_of_the_folder_that_is_back_says_so_too(shelf: Shelf) -> None:
    """It says nothing of what is held elsewhere, and believes nothing of that."""
    async with scanning.scanning(shelf) as rt:
        await planted(rt, shelf, a=60, b=30, c=60)
        unmount(shelf, "a")
        unmount(shelf, "b")
        await scanned(rt, shelf)
        assert await pending(rt) == [("held", 90, 150)]
        # b has few files: taken for itself it would be believed
        result = await scanned(rt, shelf, "b")
        assert (result["missing"], there(shelf)) == (0, 150)
        assert "30 files that are missing are held" in result["note"]
        assert (await scanned(rt, shelf, "b", deep=False))["missing"] == 0
        mount(shelf, "b")
        assert (await scanned(rt, shelf, "b", deep=False))["note"] is None
        assert await pending(rt) == [("held", 60, 150)]
        mount(shelf, "a")
        await scanned(rt, shelf, "a")
        assert await pending(rt) == []


async def test_an_approval_is_of_what_was_shown(shelf: Shelf) -> None:
    async with scanning.scanning(shelf) as rt:
        await planted(rt, shelf, a=60, b=40)
        unmount(shelf, "a")
        await scanned(rt, shelf)
        [shown] = (await held.list_all(rt)).items
        # another disk goes in between
        unmount(shelf, "b")
        result = await approved(rt)
        assert (result["status"], result["missing"]) == ("held", 0)
        assert there(shelf) == 100
        assert await pending(rt) == [("held", 100, 100)]
        with pytest.raises(Conflict) as caught:
            await held.approve(rt, "home", shown.plan_id)
        assert caught.value.code == "plan_changed"
        mount(shelf, "b")
        await scanned(rt, shelf)
        assert await pending(rt) == [("held", 60, 100)]
        # a few that a person deleted meanwhile are no reason to ask again
        for number in range(5):
            (shelf.path / "b" / f"{number:03}.jpg").unlink()
        result = await approved(rt)
        assert (result["status"], result["missing"]) == ("completed", 65)
        assert there(shelf) == 35


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let a transaction mark few files; return how many each was asked to."""
    asked: list[int] = []
    mark_missing = scans.mark_missing

    def told(conn: Connection, repository_id: RepositoryId, generation: int, ids: Sequence[UUID]) -> int:
        asked.append(len(ids))
        return mark_missing(conn, repository_id, generation, ids)

    monkeypatch.setattr(scans, "STEP", 20)
    monkeypatch.setattr(scans, "mark_missing", told)
    return asked


async def test_what_is_approved_is_marked_in_steps(shelf: Shelf, steps: list[int]) -> None:
    async with scanning.scanning(shelf) as rt:
        await planted(rt, shelf, a=60, b=40)
        unmount(shelf, "a")
        await scanned(rt, shelf)
        # those a person deleted meanwhile are a tenth of what was shown, though not of what is left after a step
        for number in range(6):
            (shelf.path / "b" / f"{number:03}.jpg").unlink()
        result = await approved(rt)
        assert (result["status"], result["missing"], there(shelf)) == ("completed", 66, 34)
        assert await pending(rt) == []
    assert steps == [20, 20, 20, 6]


async def test_what_is_believed_is_marked_in_steps_and_what_is_held_besides_stays(
    shelf: Shelf, steps: list[int]
) -> None:
    async with scanning.scanning(shelf) as rt:
        await planted(rt, shelf, a=60, b=45, c=30)
        unmount(shelf, "a")
        await scanned(rt, shelf)
        # a folder of itself concludes nothing about what is held
        unmount(shelf, "b")
        with scanning.failing_disk(shelf.path / "c"):
            assert (await scanned(rt, shelf, "b"))["missing"] == 45
        assert await pending(rt) == [("held", 60, 135)]
        assert there(shelf) == 90
    assert steps == [20, 20, 5]


async def test_what_could_not_be_read_is_in_no_step(shelf: Shelf, steps: list[int]) -> None:
    async with scanning.scanning(shelf) as rt:
        await planted(rt, shelf, a=25, ab=25, b=45)
        (shelf.path / "b/sub").mkdir()
        plant(shelf, "b/sub", 3)
        await scanned(rt, shelf)
        settled(shelf)
        unmount(shelf, "a")
        unmount(shelf, "ab")
        with scanning.failing_disk(shelf.path / "a"), scanning.failing_disk(shelf.path / "b/sub"):
            result = await scanned(rt, shelf)
        assert (result["status"], result["missing"]) == ("completed", 25)
        assert {path.split(b"/")[0] for path in recorded(shelf)} == {b"a", b"b"}
        assert there(shelf) == 73
    assert steps == [20, 5]


async def test_files_that_are_back_by_the_time_of_an_approved_scan_are_not_marked(shelf: Shelf) -> None:
    async with scanning.scanning(shelf) as rt:
        await planted(rt, shelf, a=60, b=40)
        unmount(shelf, "a")
        await scanned(rt, shelf)
        mount(shelf, "a")
        result = await approved(rt)
        assert (result["status"], result["missing"], there(shelf)) == ("completed", 0, 100)
        assert await pending(rt) == []


async def test_what_is_rejected_is_kept_and_not_asked_about_again(shelf: Shelf) -> None:
    async with scanning.scanning(shelf) as rt:
        await planted(rt, shelf, a=60, b=100)
        unmount(shelf, "a")
        await scanned(rt, shelf)
        decided = await held.reject(rt, "home")
        assert (decided.state, decided.files) == ("rejected", 60)
        for _ in range(2):
            result = await scanned(rt, shelf)
            assert (result["status"], result["missing"]) == ("completed", 0)
            assert "60 files that are missing stay as they are" in result["note"]
        assert (await status.status(rt)).held_repositories == []
        # fewer are missing
        plant(shelf, "a", 20)
        await scanned(rt, shelf)
        assert await pending(rt) == [("rejected", 40, 160)]
        assert there(shelf) == 160
        # fewer, and another one, which is one of a few
        (shelf.path / "b" / "000.jpg").unlink()
        assert (await scanned(rt, shelf))["missing"] == 1
        assert await pending(rt) == [("rejected", 40, 160)]
        # more
        unmount(shelf, "b")
        assert (await scanned(rt, shelf))["status"] == "held"
        assert await pending(rt) == [("held", 139, 159)]
        # a person may think otherwise
        await held.reject(rt, "home")
        assert (await approved(rt))["missing"] == 139
        assert there(shelf) == 20


async def test_other_files_than_were_rejected_are_asked_about(shelf: Shelf) -> None:
    async with scanning.scanning(shelf) as rt:
        await planted(rt, shelf, a=60, b=60)
        unmount(shelf, "a")
        await scanned(rt, shelf)
        await held.reject(rt, "home")
        mount(shelf, "a")
        unmount(shelf, "b")
        assert (await scanned(rt, shelf))["status"] == "held"
        assert await pending(rt) == [("held", 60, 120)]
        assert (await held.files(rt, "home", cursor=None, limit=1)).items == ["b/000.jpg"]


async def test_more_than_was_rejected_is_asked_about(shelf: Shelf) -> None:
    async with scanning.scanning(shelf) as rt:
        await planted(rt, shelf, a=60, b=60)
        unmount(shelf, "a")
        await scanned(rt, shelf)
        await held.reject(rt, "home")
        (shelf.path / "b" / "000.jpg").unlink()
        assert (await scanned(rt, shelf))["status"] == "held"
        assert await pending(rt) == [("held", 61, 120)]


async def test_what_comes_besides_makes_what_is_held_no_smaller(shelf: Shelf) -> None:
    async with scanning.scanning(shelf) as rt:
        await planted(rt, shelf, a=60, b=40)
        unmount(shelf, "a")
        await scanned(rt, shelf)
        plant(shelf, "c", 400)
        for _ in range(2):
            assert (await scanned(rt, shelf))["status"] == "held"
        (shelf.path / "b" / "000.jpg").unlink()
        for _ in range(2):
            assert (await scanned(rt, shelf))["status"] == "held"
        assert there(shelf) == 500


async def test_a_folder_that_cannot_be_read_has_neither_come_back_nor_gone(shelf: Shelf) -> None:
    async with scanning.scanning(shelf) as rt:
        await planted(rt, shelf, a=60, b=40)
        unmount(shelf, "a")
        await scanned(rt, shelf)
        with scanning.failing_disk(shelf.path / "a"):
            await scanned(rt, shelf)
            assert await pending(rt) == [("held", 60, 100)]
            # an approval goes for what could be looked at, and stays for the rest
            plant(shelf, "c", 60)
            await scanned(rt, shelf)
            unmount(shelf, "c")
            assert (await scanned(rt, shelf))["status"] == "held"
            assert await pending(rt) == [("held", 120, 160)]
            assert (await approved(rt))["missing"] == 60
            assert await pending(rt) == [("approved", 60, 160)]
        # it is a folder like others again
        (shelf.path / "a" / "sub").mkdir()
        assert (await scanned(rt, shelf))["missing"] == 60
        assert await pending(rt) == []
        assert there(shelf) == 40


async def test_a_scan_that_another_followed_decides_nothing(shelf: Shelf) -> None:
    async with scanning.scanning(shelf) as rt:
        await planted(rt, shelf, a=60, b=40)
        unmount(shelf, "a")
        await scanned(rt, shelf)
        mount(shelf, "a")
        # as another process begins one at every moment
        shelf.sql(
            "CREATE FUNCTION another() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            " UPDATE repositories SET scan_generation = scan_generation + 1; RETURN new; END $$"
        )
        shelf.sql(
            "CREATE TRIGGER another BEFORE UPDATE OF progress ON jobs FOR EACH ROW WHEN (new.kind = 'scan')"
            " EXECUTE FUNCTION another()"
        )
        await scanned(rt, shelf)
        assert await pending(rt) == [("held", 60, 100)]
        shelf.sql("DROP TRIGGER another ON jobs")
        await scanned(rt, shelf)
        assert await pending(rt) == []


async def test_what_is_held_of_a_repository_that_goes_is_forgotten(shelf: Shelf) -> None:
    async with scanning.scanning(shelf) as rt:
        await planted(rt, shelf, a=60)
        unmount(shelf, "a")
        await scanned(rt, shelf)
        shelf.sql("DELETE FROM file_records")
        shelf.sql("DELETE FROM held_deletions")
        shelf.sql("INSERT INTO held_files VALUES (gen_random_uuid(), gen_random_uuid())")
        mount(shelf, "a")
        await scanned(rt, shelf)
        unmount(shelf, "a")
        await scanned(rt, shelf)
        assert await pending(rt) == [("held", 60, 60)]
        assert shelf.sql("SELECT count(*) FROM held_files") == [(60,)]


async def test_records_that_are_gone_are_held_no_longer(shelf: Shelf) -> None:
    async with scanning.scanning(shelf) as rt:
        await planted(rt, shelf, a=60, b=40)
        unmount(shelf, "a")
        await scanned(rt, shelf)
        shelf.sql("DELETE FROM file_records WHERE path < 'a/005'")
        await scanned(rt, shelf)
        assert await pending(rt) == [("held", 55, 100)]


async def test_what_cannot_be_decided_says_why(shelf: Shelf) -> None:
    async def code(act: Any, *args: Any) -> str:
        with pytest.raises(LumilioError) as caught:
            await act(rt, *args)
        return caught.value.code

    async with scanning.scanning(shelf) as rt:
        await planted(rt, shelf, a=60)
        for act in (held.approve, held.reject):
            assert await code(act, "home") == "nothing_held"
            assert await code(act, "nowhere") == "repository_not_found"
        with pytest.raises(NotFound):
            await held.files(rt, "nowhere", cursor=None, limit=1)
        unmount(shelf, "a")
        await scanned(rt, shelf)
        for act in (held.approve, held.reject):
            assert await code(act, "home", uuid7()) == "plan_changed"
        rt.repositories.lose(RepositoryId(shelf.id), "unplugged")
        with pytest.raises(Unavailable):
            await held.approve(rt, "home")
        # keeping everything as it is needs no disk
        assert (await held.reject(rt, "home")).state == "rejected"
        assert await rt.db.call(scans.count_present, RepositoryId(shelf.id)) == 60
