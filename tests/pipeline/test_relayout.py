"""Re-layouts: killed at every step, healed both ways; undone; beside uploads and the trash."""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import psycopg
import pytest
import trio

from lumiliod.contract.relayout import RelayoutRequest
from lumiliod.contract.repositories import Attached, Attachment
from lumiliod.contract.trash import RestoreRequest
from lumiliod.db import files, scans
from lumiliod.domain.assets import Outcome
from lumiliod.domain.errors import Conflict, NotFound, Unavailable
from lumiliod.domain.ids import AssetId, Digest, RepoPath, RepositoryId
from lumiliod.domain.jobs import JobFilter
from lumiliod.jobs.engine import Running
from lumiliod.jobs.kind import JobSpec, Kind, each
from lumiliod.library import relayout as library
from lumiliod.library import relocation, task_control, trash
from lumiliod.pipeline import adopt, kinds
from lumiliod.pipeline.relayout import MERGED
from lumiliod.runtime import Runtime
from lumiliod.storage.local import stat_of
from tests import stepping
from tests.pipeline import relaying
from tests.pipeline import shelf as shelves
from tests.pipeline.shelf import Shelf, digest_of, jpeg

FEWEST_STEPS = 20
"""Fewer would mean that the harness does not see what the operations do."""

FEWEST_ENDS = 5

A, B, MINE = jpeg(1), jpeg(2), jpeg(3)
XMP = b"<x:xmpmeta/>"


def cas(content: bytes, extension: str = ".jpg") -> str:
    digest = digest_of(content)
    return f"inbox/{digest[:2]}/{digest[2:4]}/{digest[4:6]}/{digest}{extension}"


class Scene:
    """An original with a sidecar, or with a second copy; and files in the user area that nothing may happen to."""

    def __init__(self, conninfo: str, folder: Path, *, twin: bool = False, sidecar: bool = False) -> None:
        self.shelf = shelves.make(conninfo, shelves.fresh(folder))
        self.assets = {digest_of(A): shelves.add(self.shelf, "inbox/a.jpg", A)}
        self.assets[digest_of(MINE)] = shelves.add(self.shelf, "Trip/mine.jpg", MINE)
        self.twin, self.sidecar = twin, sidecar
        if twin:
            shelves.copy(self.shelf, self.asset, "inbox/twin.jpg", A)
        if sidecar:
            add_other(self.shelf, "inbox/a.xmp", XMP)
        self.before = self.placed()
        self.theirs = self.user_area()

    @property
    def asset(self) -> AssetId:
        return self.assets[digest_of(A)]

    def placed(self) -> dict[str, str]:
        """Return the digest of every file of the inbox, by path."""
        inbox = self.shelf.path / "inbox"
        found = (path for path in inbox.rglob("*") if not path.is_dir())
        return {str(path.relative_to(self.shelf.path)): digest_of(path.read_bytes()) for path in found}

    def user_area(self) -> dict[str, tuple[bytes, int, int]]:
        trip = self.shelf.path / "Trip"
        return {str(path): (path.read_bytes(), path.stat().st_ino, path.stat().st_mtime_ns) for path in trip.rglob("*")}

    def wanted(self, to: str) -> dict[str, str]:
        if to == "flat":
            return self.before
        found = {cas(A): digest_of(A)}
        return found | ({cas(A, ".xmp"): digest_of(XMP)} if self.sidecar else {})

    def check_known(self) -> None:
        """Check: every asset is there, once, and is served from a file that has its bytes."""
        rows = self.shelf.sql(
            "SELECT a.id, encode(a.digest, 'hex'), a.deleted_at, convert_from(f.path, 'UTF8'), f.inode, f.missing_since"
            " FROM assets a LEFT JOIN file_records f ON f.asset_id = a.id AND f.outcome = 'asset'"
            " LEFT JOIN repositories r ON r.id = f.repository_id WHERE r.id = %s OR f.id IS NULL",
            self.shelf.id,
        )
        assert {digest: id_ for id_, digest, *_ in rows} == self.assets
        for _, digest, deleted_at, path, inode, missing_since in rows:
            place = self.shelf.path / str(path)
            assert (deleted_at, missing_since) == (None, None)
            assert (digest_of(place.read_bytes()), place.stat().st_ino) == (digest, inode), path
        assert self.user_area() == self.theirs
        assert self.shelf.sql("SELECT 1 FROM file_records WHERE outcome = 'pending'") == []

    def check_whole(self, to: str) -> None:
        """Check: every file is where the layout ``to`` has it, no record without its file, and nothing is left over."""
        self.check_known()
        assert self.placed() == self.wanted(to), self.moves()
        records = self.shelf.sql(
            "SELECT convert_from(path, 'UTF8'), missing_since FROM file_records WHERE repository_id = %s", self.shelf.id
        )
        assert {path for path, _ in records} == {*self.wanted(to), "Trip/mine.jpg"}, self.moves()
        assert {missing for _, missing in records} == {None}
        assert empty_folders(self.shelf.path / "inbox") == []
        assert list((self.shelf.path / ".lumilio" / "temp").iterdir()) == []
        assert self.shelf.repository().marker.storage_strategy == to
        assert self.shelf.sql("SELECT storage_strategy FROM repositories WHERE id = %s", self.shelf.id) == [(to,)]

    def state(self) -> str | None:
        found = self.shelf.sql("SELECT state FROM relayouts WHERE repository_id = %s", self.shelf.id)
        return str(found[0][0]) if found else None

    def moves(self) -> dict[str, tuple[str, str | None]]:
        rows = self.shelf.sql(
            "SELECT convert_from(from_path, 'UTF8'), m.state, reason FROM relayout_moves m"
            " JOIN relayouts r ON r.id = m.relayout_id WHERE r.repository_id = %s",
            self.shelf.id,
        )
        return {str(path): (str(state), None if reason is None else str(reason)) for path, state, reason in rows}


def empty_folders(inbox: Path) -> list[Path]:
    return [path for path in inbox.rglob("*") if path.is_dir() and not any(path.iterdir())]


def add_other(shelf: Shelf, path: str, content: bytes, outcome: Outcome = Outcome.UNSUPPORTED) -> None:
    """Put a file into the repository that is no asset, as ingest leaves it."""
    place = shelf.path / path
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(content)
    stat, repository_id = stat_of(place.stat()), RepositoryId(shelf.id)
    with psycopg.connect(shelf.conninfo) as conn:
        generation = scans.next_generation(conn, repository_id)
        [record] = files.seen(conn, repository_id, generation, [files.SeenFile(RepoPath(path), stat)])
        files.reject(conn, record, outcome, "unsupported: no photo, video or audio", stat)


def by_work(scene: Scene) -> None:
    stepping.run(relaying.go_on, scene.shelf)


def by_scan(scene: Scene) -> None:
    stepping.run(relaying.scan, scene.shelf)
    scene.check_known()
    stepping.run(relaying.go_on, scene.shelf)
    stepping.run(relaying.scan, scene.shelf)


WAYS = stepping.ways(by_work, by_scan)


def through(
    make: Callable[[], Scene],
    operation: Callable[..., None],
    *args: object,
    how: str,
    heal: Callable[[Scene], None],
    check: Callable[[Scene], None],
) -> None:
    """Kill an operation at each of its steps, heal, check; the last rounds are those of one that is not killed."""
    ended = 0
    for step in stepping.steps():
        scene = make()
        powerless = scene.shelf.root if how == stepping.POWERLESS else None
        was_killed = stepping.run(operation, scene.shelf, *args, kill_at=step, powerless=powerless)
        heal(scene)
        check(scene)
        # nobody meets what an earlier round left
        scene.shelf.sql("DELETE FROM jobs")
        scene.shelf.sql("DELETE FROM file_records")
        scene.shelf.sql("DELETE FROM repositories")
        scene.shelf.sql("DELETE FROM assets")
        ended += not was_killed
        if ended == (stepping.ENDS if how == stepping.POWERLESS else 1):
            assert step > FEWEST_STEPS
            return


@pytest.mark.parametrize(("heal", "how"), WAYS)
@pytest.mark.parametrize("what", ["twin", "sidecar"])
def test_killed_at_every_step(
    conninfo: str, tmp_path: Path, what: str, heal: Callable[[Scene], None], how: str
) -> None:
    ends = []

    def check(scene: Scene) -> None:
        ends.append(scene.state())
        scene.check_whole("cas" if scene.state() else "flat")

    make = partial(Scene, conninfo, tmp_path, **{what: True})
    through(make, relaying.relay, "cas", how=how, heal=heal, check=check)
    # once it was asked for and written down, it is done
    assert ends[-1] == "done"
    assert ends.count("done") > FEWEST_ENDS


@pytest.mark.parametrize(("heal", "how"), WAYS)
@pytest.mark.parametrize("what", ["twin", "sidecar"])
def test_undoing_killed_at_every_step(
    conninfo: str, tmp_path: Path, what: str, heal: Callable[[Scene], None], how: str
) -> None:
    ends = []

    def make() -> Scene:
        scene = Scene(conninfo, tmp_path, **{what: True})
        stepping.run(relaying.relay, scene.shelf, "cas")
        assert scene.state() == "done"
        return scene

    def check(scene: Scene) -> None:
        ends.append(scene.state())
        scene.check_whole("flat" if scene.state() == "undone" else "cas")

    through(make, relaying.undo, how=how, heal=heal, check=check)
    assert ends[-1] == "undone"
    assert ends.count("undone") > FEWEST_ENDS


# beside each other


@pytest.fixture
def shelf(conninfo: str, tmp_path: Path) -> Shelf:
    return shelves.make(conninfo, tmp_path / "home")


def inbox_of(shelf: Shelf) -> dict[str, bytes]:
    files_ = (path for path in (shelf.path / "inbox").rglob("*") if path.is_file() and not path.is_symlink())
    return {str(path.relative_to(shelf.path)): path.read_bytes() for path in files_}


def served(shelf: Shelf, asset_id: AssetId) -> str:
    """Return the path an asset is served from, where its bytes are."""
    [row] = shelf.sql(
        "SELECT convert_from(f.path, 'UTF8'), encode(a.digest, 'hex'), f.missing_since FROM file_records f"
        " JOIN assets a ON a.id = f.asset_id WHERE f.asset_id = %s AND f.outcome = 'asset'",
        asset_id,
    )
    assert row[2] is None
    assert digest_of((shelf.path / str(row[0])).read_bytes()) == row[1]
    return str(row[0])


async def relaid(shelf: Shelf, rt: Runtime, to: str) -> dict[str, tuple[str, str | None]]:
    """Bring the inbox into a layout; return what became of each move, by where its file was."""
    ticket = await relaying.begin(shelf, to, rt)
    await relaying.idle(rt)
    rows = shelf.sql(
        "SELECT convert_from(from_path, 'UTF8'), state, reason FROM relayout_moves WHERE relayout_id = %s",
        ticket.relayout_id,
    )
    return {str(path): (str(state), None if reason is None else str(reason)) for path, state, reason in rows}


async def undone(shelf: Shelf, rt: Runtime) -> None:
    await library.undo(rt, str(shelf.id))
    await relaying.idle(rt)


def taken_at(shelf: Shelf, asset_id: AssetId, when: str) -> None:
    shelf.sql("UPDATE assets SET taken_at_local = %s WHERE id = %s", when, asset_id)


def called(shelf: Shelf, asset_id: AssetId, name: str) -> None:
    shelf.sql("UPDATE assets SET original_filename = %s WHERE id = %s", name, asset_id)


async def test_there_through_every_layout_and_back(shelf: Shelf) -> None:
    ids = [
        shelves.add(shelf, f"inbox/{name}.jpg", jpeg(n)) for n, name in enumerate(("IMG", "IMG (1)", "ä ö", "x"), 10)
    ]
    for asset_id, when in zip(ids, ("2023-01-31", "2023-01-02", "2024-12-31", "1999-01-01"), strict=True):
        taken_at(shelf, asset_id, when)
    called(shelf, ids[1], "IMG.jpg")
    before = inbox_of(shelf)
    async with relaying.working(shelf) as rt:
        await relaid(shelf, rt, "date")
        assert [served(shelf, asset_id) for asset_id in ids] == [
            "inbox/2023/01/IMG (1).jpg", "inbox/2023/01/IMG.jpg", "inbox/2024/12/ä ö.jpg", "inbox/1999/01/x.jpg",
        ]  # fmt: skip
        dated = inbox_of(shelf)
        await relaid(shelf, rt, "cas")
        assert [served(shelf, asset_id) for asset_id in ids] == [cas(jpeg(n)) for n in range(10, 14)]
        assert empty_folders(shelf.path / "inbox") == []
        await undone(shelf, rt)
        assert inbox_of(shelf) == dated
        await undone(shelf, rt)
        assert inbox_of(shelf) == before
        assert rt.repositories.get(shelf.id).layout.name == "flat"
        with pytest.raises(NotFound) as caught:
            await library.undo(rt, str(shelf.id))
        assert caught.value.code == "relayout_not_found"
    assert shelf.repository().marker.storage_strategy == "flat"


async def test_a_layout_again_moves_what_was_dated_otherwise_since(shelf: Shelf) -> None:
    asset = shelves.add(shelf, "inbox/a.jpg", A)
    taken_at(shelf, asset, "2020-01-01")
    async with relaying.working(shelf) as rt:
        await relaid(shelf, rt, "date")
        taken_at(shelf, asset, "2021-02-01")
        assert served(shelf, asset) == "inbox/2020/01/a.jpg"
        await relaid(shelf, rt, "date")
        assert served(shelf, asset) == "inbox/2021/02/a.jpg"
        with pytest.raises(Conflict) as caught:
            await relaid(shelf, rt, "date")
        assert caught.value.code == "already_so"


async def test_a_plan_is_what_is_done_and_changes_nothing(shelf: Shelf) -> None:
    first, second = shelves.add(shelf, "inbox/2020/a.jpg", A), shelves.add(shelf, "inbox/2021/a.jpg", B)
    shelves.copy(shelf, first, "inbox/copy.jpg", A)
    called(shelf, first, "a.jpg")
    shelves.add(shelf, "Trip/mine.jpg", MINE)
    add_other(shelf, "inbox/2020/a.jpg.xmp", XMP)
    add_other(shelf, "inbox/notes.txt", b"notes")
    everything = shelf.everything(but="")
    async with relaying.working(shelf) as rt:
        plan = await library.plan(rt, str(shelf.id), RelayoutRequest(to="flat"))
        assert shelf.everything(but="") == everything
        assert shelf.sql("SELECT 1 FROM relayouts") == []
        assert (plan.moves, plan.sidecars, plan.renamed, plan.merged) == (4, 1, 1, 1)
        assert (plan.staying, plan.user_area, plan.user_area_bytes) == ({"unsupported": 1}, 1, len(MINE))
        assert plan.size_bytes == 2 * len(A) + len(B) + len(XMP)
        assert plan.needed_bytes == 0 < plan.free_bytes
        assert {one.from_path: one.resolution for one in plan.collisions} == {
            "inbox/2021/a.jpg": "renamed", "inbox/copy.jpg": "merged",
        }  # fmt: skip
        planned = {one.from_path: one.to_path for one in plan.examples}
        done = await relaid(shelf, rt, "flat")
        assert set(done) == set(planned)
        assert {state for state, _ in done.values()} == {"done"}
        assert done["inbox/copy.jpg"][1] == MERGED
    assert planned["inbox/2020/a.jpg.xmp"] == "inbox/a.jpg.xmp"
    assert set(inbox_of(shelf)) == {*planned.values(), "inbox/notes.txt"}
    assert (served(shelf, first), served(shelf, second)) == ("inbox/a.jpg", "inbox/a (1).jpg")


async def test_a_plan_of_undoing_is_what_is_undone_and_changes_nothing(shelf: Shelf) -> None:
    first, second = shelves.add(shelf, "inbox/2020/a.jpg", A), shelves.add(shelf, "inbox/2021/b.jpg", B)
    shelves.copy(shelf, first, "inbox/copy.jpg", A)
    called(shelf, first, "a.jpg")
    gone = shelves.add(shelf, "inbox/2022/c.jpg", jpeg(30))
    before = inbox_of(shelf)
    async with relaying.working(shelf) as rt:
        with pytest.raises(NotFound):
            await library.plan_undo(rt, str(shelf.id))
        await relaid(shelf, rt, "flat")
        everything = shelf.everything(but="")
        plan = await library.plan_undo(rt, str(shelf.id))
        assert shelf.everything(but="") == everything
        assert (plan.from_strategy, plan.to_strategy, plan.moves, plan.merged) == ("flat", "flat", 4, 1)
        assert {one.to_path for one in plan.examples} == set(before)
        add_other(shelf, "inbox/2021/b.jpg", b"another")
        shelf.sql("UPDATE file_records SET path = 'inbox/elsewhere.jpg' WHERE asset_id = %s", gone)
        plan = await library.plan_undo(rt, str(shelf.id))
        assert (plan.moves, plan.staying) == (2, {"name_taken": 1, "moved_elsewhere": 1})
        (shelf.path / "inbox/2021/b.jpg").unlink()
        shelf.sql("DELETE FROM file_records WHERE path = 'inbox/2021/b.jpg'")
        shelf.sql("UPDATE file_records SET path = 'inbox/c.jpg' WHERE asset_id = %s", gone)
        await undone(shelf, rt)
        assert inbox_of(shelf) == before
        assert served(shelf, second) == "inbox/2021/b.jpg"


async def test_what_is_in_the_way_stays(shelf: Shelf) -> None:
    """A stranger's file has the planned name: another name. One with the same bytes: it is kept. A folder: no move."""
    ids = [shelves.add(shelf, f"inbox/{n}.jpg", jpeg(n)) for n in (20, 21, 22)]
    for asset_id, when in zip(ids, ("2020-01-01", "2021-01-01", "2022-01-01"), strict=True):
        taken_at(shelf, asset_id, when)
    for path, content in (
        ("inbox/2020/01/20.jpg", b"a stranger"),
        ("inbox/2021/01/21.jpg", jpeg(21)),
        ("inbox/2022", b""),
    ):
        (shelf.path / path).parent.mkdir(parents=True, exist_ok=True)
        (shelf.path / path).write_bytes(content)
    before = inbox_of(shelf)
    async with relaying.working(shelf) as rt:
        done = await relaid(shelf, rt, "date")
        assert [served(shelf, asset_id) for asset_id in ids] == [
            "inbox/2020/01/20 (1).jpg", "inbox/2021/01/21.jpg", "inbox/22.jpg",
        ]  # fmt: skip
        assert done["inbox/21.jpg"] == ("done", MERGED)
        assert done["inbox/22.jpg"][0] == "skipped"
        assert (done["inbox/22.jpg"][1] or "").startswith("folder_taken: ")
        assert (shelf.path / "inbox/2020/01/20.jpg").read_bytes() == b"a stranger"
        shown = await library.show(rt, str(shelf.id))
        assert (shown.state, shown.done, shown.merged, shown.skipped) == ("done", 2, 1, 1)
        await undone(shelf, rt)
    assert inbox_of(shelf) == before


async def test_only_what_is_on_record_moves(shelf: Shelf) -> None:
    ids = {
        name: shelves.add(shelf, f"inbox/{name}.jpg", jpeg(n))
        for n, name in enumerate(("touched", "edited", "gone", "link"))
    }
    place = shelf.path / "inbox"
    os.utime(place / "touched.jpg", ns=(1, 1))
    (place / "edited.jpg").write_bytes(b"edited")
    (place / "gone.jpg").unlink()
    (place / "link.jpg").rename(shelf.path / "Trip.jpg")
    (place / "link.jpg").symlink_to(shelf.path / "Trip.jpg")
    async with relaying.working(shelf) as rt:
        done = await relaid(shelf, rt, "cas")
    reasons = {Path(path).stem: (state, (reason or "").partition(":")[0]) for path, (state, reason) in done.items()}
    assert reasons == {
        "touched": ("done", ""),
        "edited": ("skipped", "changed"),
        "gone": ("skipped", "file_missing"),
        "link": ("skipped", "unreadable"),
    }
    assert served(shelf, ids["touched"]) == cas(jpeg(0))
    [row] = shelf.sql("SELECT mtime_ns FROM file_records WHERE asset_id = %s", ids["touched"])
    assert row == (1,)
    assert (place / "edited.jpg").read_bytes() == b"edited"
    assert (place / "link.jpg").is_symlink()


@pytest.mark.parametrize("verify", [False, True])
async def test_rot_is_found_only_by_reading(shelf: Shelf, verify: bool) -> None:
    shelves.add(shelf, "inbox/a.jpg", A)
    place = shelf.path / "inbox/a.jpg"
    times = place.stat()
    with place.open("r+b") as file:
        file.write(b"rot")
    os.utime(place, ns=(times.st_atime_ns, times.st_mtime_ns))
    async with relaying.working(shelf) as rt:
        await library.begin(rt, str(shelf.id), RelayoutRequest(to="cas", verify=verify))
        await relaying.idle(rt)
        found = await library.show(rt, str(shelf.id))
    assert (found.done, found.skipped) == ((0, 1) if verify else (1, 0))
    assert place.exists() is verify


async def test_uploads_go_by_the_new_layout_and_the_trash_goes_on(shelf: Shelf) -> None:
    """All at once, with two maintenance jobs at a time, so that scans run beside it: nobody loses anything."""
    ids = {n: shelves.add(shelf, f"inbox/{n}.jpg", jpeg(n)) for n in range(40)}
    async with relaying.working(shelf, queues={"ingest": 3, "maintenance": 3}) as rt:

        async def trashing() -> None:
            for n in range(0, 20, 2):
                await trash.remove_one(rt, ids[n], delete_file=False)
            for n in range(0, 20, 4):
                await trash.restore(rt, RestoreRequest(ids=[ids[n]]))

        async def uploading() -> None:
            for n in range(100, 110):
                await relaying.upload(rt, shelf, f"{n}.jpg", jpeg(n))

        async def scanning() -> None:
            for _ in range(5):
                await rt.jobs.call(kinds.enqueue_one, kinds.scan(RepositoryId(shelf.id)))
                await trio.sleep(0.05)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(trashing)
            nursery.start_soon(uploading)
            await relaying.begin(shelf, "cas", rt)
            nursery.start_soon(scanning)
        await relaying.idle(rt)
        for to in ("flat", "cas"):
            await relaid(shelf, rt, to)
        await rt.jobs.call(kinds.enqueue_one, kinds.scan(RepositoryId(shelf.id)))
        await relaying.idle(rt)
    gone = {n for n in range(0, 20, 2) if n % 4}
    for n in set(ids) - gone:
        assert served(shelf, ids[n]) == cas(jpeg(n)), n
    for n in gone:
        [place] = shelf.holding(digest_of(jpeg(n)))
        assert place.startswith(".lumilio/trash/")
    for n in range(100, 110):
        assert shelf.holding(digest_of(jpeg(n))) == [cas(jpeg(n))]
    assert shelf.sql("SELECT count(*) FROM assets") == [(50,)]
    assert shelf.sql("SELECT 1 FROM file_records WHERE missing_since IS NOT NULL OR outcome <> 'asset'") == []
    assert set(inbox_of(shelf)) == {cas(jpeg(n)) for n in [*(set(ids) - gone), *range(100, 110)]}


async def test_what_a_job_reads_waits_until_it_is_read(shelf: Shelf) -> None:
    asset = shelves.add(shelf, "inbox/a.jpg", A)
    begun, may_end = trio.Event(), trio.Event()

    async def read(_running: Running) -> None:
        begun.set()
        await may_end.wait()
        assert (shelf.path / "inbox/a.jpg").read_bytes() == A

    async with relaying.working(shelf, more=Kind("read", "ingest", each(read))) as rt:
        job = JobSpec("read", "ingest").new({}, asset_id=asset)
        await rt.jobs.call(kinds.enqueue_one, job)
        await begun.wait()
        await relaying.begin(shelf, "cas", rt)
        await relaying.until_put_off(rt, "relayout")
        assert served(shelf, asset) == "inbox/a.jpg"
        may_end.set()
        await relaying.idle(rt)
    assert served(shelf, asset) == cas(A)


async def test_what_a_person_cancelled_waits_for_a_person(shelf: Shelf) -> None:
    asset = shelves.add(shelf, "inbox/a.jpg", A)
    async with relaying.working(shelf, queues={"ingest": 2}) as rt:
        ticket = await relaying.begin(shelf, "cas", rt)
        assert rt.repositories.get(shelf.id).layout.name == "cas"
        await task_control.cancel(rt, JobFilter(ids=(ticket.task_id,)))
        assert await adopt.missing(rt, "relayout") == {"relayout": 0}
        assert (await library.show(rt, str(shelf.id))).halted
        with pytest.raises(Conflict) as caught:
            await relaying.begin(shelf, "date", rt)
        assert caught.value.code == "relayout_open"
    async with relaying.working(shelf) as rt:
        assert served(shelf, asset) == "inbox/a.jpg"
        again = await relaying.begin(shelf, "cas", rt)
        assert again.relayout_id == ticket.relayout_id
        await relaying.idle(rt)
        assert served(shelf, asset) == cas(A)


async def test_going_on_reads_every_file_when_that_is_said_then(shelf: Shelf) -> None:
    shelves.add(shelf, "inbox/a.jpg", A)
    place = shelf.path / "inbox/a.jpg"
    times = place.stat()
    place.write_bytes(b"rot" + A[3:])
    os.utime(place, ns=(times.st_atime_ns, times.st_mtime_ns))
    async with relaying.working(shelf, queues={"ingest": 2}) as rt:
        ticket = await relaying.begin(shelf, "cas", rt)
        await task_control.cancel(rt, JobFilter(ids=(ticket.task_id,)))
    async with relaying.working(shelf) as rt:
        again = await library.begin(rt, str(shelf.id), RelayoutRequest(to="cas", verify=True))
        await relaying.idle(rt)
        found = await library.show(rt, str(shelf.id))
    assert (again.relayout_id, found.done, found.skipped) == (ticket.relayout_id, 0, 1)
    assert place.exists()


async def test_what_is_so_already_keeps_the_one_that_can_be_undone(shelf: Shelf) -> None:
    asset = shelves.add(shelf, "inbox/a.jpg", A)
    async with relaying.working(shelf) as rt:
        await relaid(shelf, rt, "cas")
        with pytest.raises(Conflict) as caught:
            await relaying.begin(shelf, "cas", rt)
        assert caught.value.code == "already_so"
        await undone(shelf, rt)
    assert served(shelf, asset) == "inbox/a.jpg"


async def test_whoever_takes_a_repository_back_hears_what_was_halted(shelf: Shelf) -> None:
    shelves.add(shelf, "inbox/a.jpg", A)
    async with relaying.working(shelf, queues={"ingest": 2}) as rt:
        assert (await taken_back(shelf, rt)).note is None
        await relaying.begin(shelf, "cas", rt)
        note = (await taken_back(shelf, rt)).note
        assert note is not None
        assert f"lumilio repos relayout {shelf.path.name} --to cas goes on" in note
        await library.undo(rt, str(shelf.id))
        note = (await taken_back(shelf, rt)).note
        assert note is not None
        assert "--undo goes on" in note


async def taken_back(shelf: Shelf, rt: Runtime) -> Attached:
    await relocation.detach(rt, str(shelf.id))
    return await relocation.attach(rt, Attachment(path=shelf.root))


async def test_a_job_that_was_lost_is_made_anew(shelf: Shelf) -> None:
    asset = shelves.add(shelf, "inbox/a.jpg", A)
    async with relaying.working(shelf, queues={"ingest": 2}) as rt:
        await relaying.begin(shelf, "cas", rt)
        shelf.sql("TRUNCATE jobs")
    async with relaying.working(shelf) as rt:
        assert await adopt.missing(rt, "relayout") == {"relayout": 1}
        await relaying.idle(rt)
    assert served(shelf, asset) == cas(A)


async def test_undoing_what_has_not_begun(shelf: Shelf) -> None:
    asset = shelves.add(shelf, "inbox/a.jpg", A)
    async with relaying.working(shelf, queues={"ingest": 2}) as rt:
        await relaying.begin(shelf, "cas", rt)
        await library.undo(rt, str(shelf.id))
        assert rt.repositories.get(shelf.id).layout.name == "flat"
    async with relaying.working(shelf) as rt:
        await relaying.idle(rt)
        found = await library.show(rt, str(shelf.id))
    assert (found.state, found.undone, found.pending) == ("undone", 1, 0)
    assert served(shelf, asset) == "inbox/a.jpg"


async def test_a_disk_that_goes_away_puts_it_off(shelf: Shelf) -> None:
    asset = shelves.add(shelf, "inbox/a.jpg", A)
    away = shelf.path.with_name("away")
    async with relaying.working(shelf, queues={"ingest": 2}) as rt:
        await relaying.begin(shelf, "cas", rt)
        shelf.path.rename(away)
        shelf.path.mkdir()
    async with relaying.working(shelf) as rt:
        with pytest.raises(Unavailable) as caught:
            await library.plan(rt, str(shelf.id), RelayoutRequest(to="cas"))
        assert caught.value.code == "repository_offline"
        await relaying.until_put_off(rt, "relayout")
    shelf.path.rmdir()
    away.rename(shelf.path)
    async with relaying.working(shelf) as rt:
        await relaying.idle(rt)
    assert served(shelf, asset) == cas(A)


async def test_what_came_by_the_old_layout_meanwhile_moves_too(shelf: Shelf) -> None:
    first = shelves.add(shelf, "inbox/a.jpg", A)
    async with relaying.working(shelf, queues={"ingest": 2}) as rt:
        ticket = await relaying.begin(shelf, "cas", rt)
        assert ticket.moves == 1
        late = shelves.add(shelf, "inbox/late.jpg", B)
    async with relaying.working(shelf) as rt:
        await relaying.idle(rt)
        assert (served(shelf, first), served(shelf, late)) == (cas(A), cas(B))
        await undone(shelf, rt)
    assert (served(shelf, first), served(shelf, late)) == ("inbox/a.jpg", "inbox/late.jpg")


async def test_a_scan_that_has_passed_both_names_misses_nothing(shelf: Shelf) -> None:
    """It met the new folder before the file was there, and the old one after it had gone."""
    shelves.add(shelf, "inbox/a.jpg", A)
    async with relaying.working(shelf) as rt:
        generation = await rt.db.call(scans.next_generation, RepositoryId(shelf.id))
        await relaid(shelf, rt, "cas")
        nothing = scans.met(scans.Stretch(), [], scans.as_columns([[]] * 4), {})
        await rt.db.call(scans.note_absent, RepositoryId(shelf.id), generation, nothing)
        assert await rt.db.call(scans.count_absent, RepositoryId(shelf.id), generation) == 0


async def test_whoever_holds_the_bytes_is_waited_for(shelf: Shelf) -> None:
    """An upload of the same bytes reads the original by its name before it is let go."""
    asset = shelves.add(shelf, "inbox/a.jpg", A)
    async with relaying.working(shelf) as rt:
        async with rt.digests.holding(Digest(digest_of(A))):
            await relaying.begin(shelf, "cas", rt)
            with trio.fail_after(shelves.WAITING_S):
                while rt.digests._locks[digest_of(A)][1] < 2:
                    await trio.sleep(0.01)
            assert served(shelf, asset) == "inbox/a.jpg"
        await relaying.idle(rt)
    assert served(shelf, asset) == cas(A)
