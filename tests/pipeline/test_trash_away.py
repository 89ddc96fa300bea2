"""The trash while a repository is away: nothing of it is purged or grows older, and nothing else waits for it."""

from pathlib import Path
from uuid import UUID

import pytest
import trio

from lumiliod.contract.repositories import Attachment
from lumiliod.contract.trash import PurgeRequest
from lumiliod.daemon.appliance import attend_repositories
from lumiliod.db.pool import Connection
from lumiliod.domain.ids import AssetId, JobId
from lumiliod.library import relocation, trash
from lumiliod.pipeline import kinds
from lumiliod.runtime import Runtime
from tests.pipeline import shelf as shelves
from tests.pipeline.shelf import jpeg
from tests.pipeline.test_retire import put_into_trash

DAYS_S = 30 * 86_400.0


class Two:
    """A repository that is there and one that goes away, an asset in the trash of each and one in both."""

    def __init__(self, conninfo: str, folder: Path) -> None:
        self.here = shelves.make(conninfo, shelves.fresh(folder))
        self.away = shelves.make(conninfo, shelves.fresh(folder))
        self.near = shelves.add(self.here, "inbox/near.jpg", jpeg(1))
        self.far = shelves.add(self.away, "inbox/far.jpg", jpeg(2))
        self.both = shelves.add(self.here, "inbox/both.jpg", jpeg(3))
        for shelf, asset_id in ((self.here, self.near), (self.away, self.far), (self.here, self.both)):
            put_into_trash(shelf, asset_id)
        # its pictures lie in the other one
        self.here.sql("UPDATE derivatives SET repository_id = %s WHERE asset_id = %s", self.away.id, self.both)

    def states(self) -> dict[AssetId, object]:
        return {AssetId(UUID(str(id_))): state for id_, state in self.here.sql("SELECT asset_id, state FROM trash")}


@pytest.fixture
def two(conninfo: str, tmp_path: Path) -> Two:
    return Two(conninfo, tmp_path)


async def purged(rt: Runtime, older_s: float | None = None) -> dict[str, object]:
    """Purge, and return what the job says once it has ended by itself; it is put off no time."""
    task = await rt.jobs.call(kinds.enqueue_one, kinds.purge(older_s=older_s))
    with trio.fail_after(shelves.WAITING_S):
        while (row := await rt.jobs.call(_told, task)) is None:
            await trio.sleep(0.02)
    return row


def _told(conn: Connection, task: JobId) -> dict[str, object] | None:
    row = conn.execute("SELECT state, result FROM job_history WHERE id = %s", (task,)).fetchone()
    assert row is None or row[0] == "completed"
    assert not conn.execute("SELECT 1 FROM jobs WHERE state = 'retryable'").fetchone()
    return row[1] if row else None


async def test_what_is_away_is_waited_for_by_no_job(two: Two) -> None:
    async with shelves.opened(two.here) as rt:
        two.here.sql("UPDATE trash SET state = 'purging'")
        await relocation.detach(rt, two.away.path.name)
    async with shelves.working(two.here) as rt:
        told = await purged(rt)
        assert (told["purged"], told["away"]) == (1, 2)
        assert two.states() == {two.far: "purging", two.both: "purging"}
        await relocation.attach(rt, Attachment(path=two.away.root))
        await shelves.idle(rt)
    assert two.states() == {}


async def test_what_an_offline_disk_has_is_purged_when_it_is_back(two: Two) -> None:
    gone = Path(two.away.root + ".gone")
    two.here.sql("UPDATE trash SET state = 'purging'")
    two.away.path.rename(gone)
    async with shelves.working(two.here) as rt, trio.open_nursery() as nursery:
        told = await purged(rt)
        assert (told["purged"], told["away"]) == (1, 2)
        gone.rename(two.away.path)
        await nursery.start(attend_repositories, rt)
        with trio.fail_after(shelves.WAITING_S):
            while two.states():
                await trio.sleep(0.02)
        await shelves.idle(rt)
        nursery.cancel_scope.cancel()


async def test_nothing_grows_older_while_it_is_away(two: Two) -> None:
    two.here.sql("UPDATE trash SET aged_s = %s", DAYS_S - 2.5 * 86_400)
    async with shelves.working(two.here) as rt:
        await relocation.detach(rt, two.away.path.name)
        for _ in range(4):
            two.here.sql("UPDATE trash SET aged_at = aged_at - interval '1 day'")
            await purged(rt, DAYS_S)
        assert two.states() == {two.far: "trashed", two.both: "trashed"}
        await relocation.attach(rt, Attachment(path=two.away.root))
        await shelves.idle(rt)
        await purged(rt, DAYS_S)
        assert two.states() == {two.far: "trashed", two.both: "trashed"}
        for _ in range(2):
            two.here.sql("UPDATE trash SET aged_at = aged_at - interval '1 day'")
            await purged(rt, DAYS_S)
    assert two.states() == {}


async def test_a_person_purges_what_is_there(two: Two) -> None:
    async with shelves.working(two.here) as rt:
        await relocation.detach(rt, two.away.path.name)
        assert (await trash.purge(rt, PurgeRequest(all=True, dry_run=True))).count == 1
        done = await trash.purge(rt, PurgeRequest(ids=[two.near, two.far, two.both]))
        assert done.count == 1
        assert [one.outcome for one in done.results] == ["purging", "away", "away"]
        await shelves.idle(rt)
    assert two.states() == {two.far: "trashed", two.both: "trashed"}
