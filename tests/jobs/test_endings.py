"""What ended lately: gathered for who listens, within bounds, and told between processes."""

from collections import Counter
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import pytest
import trio

from lumiliod.db import waking
from lumiliod.db.listen import listen
from lumiliod.db.pool import Database
from lumiliod.domain.errors import Permanent
from lumiliod.domain.ids import AssetId, JobId
from lumiliod.domain.jobs import ClaimedJob
from lumiliod.jobs import calls, endings
from lumiliod.jobs.endings import Endings, Gathered
from lumiliod.jobs.engine import Engine, Running
from lumiliod.jobs.kind import JobSpec, Kind, each

from .conftest import Serving, enqueue, until

WORK = JobSpec("work", "work")
ASSET = AssetId(UUID(int=9))


def claimed(kind: str, asset_id: UUID | None = None) -> ClaimedJob:
    return ClaimedJob(JobId(uuid4()), 1, kind, "work", 2, 1, 1, 1, {}, asset_id, None)


def test_nobody_listens() -> None:
    ends = Endings()
    ends.completed(claimed("work", ASSET), None)
    ends.add(Gathered(Counter(work=1)))
    assert not ends.take()
    ends.listen(-1.0)
    ends.discarded(claimed("work", ASSET))
    assert not ends.take()


def test_the_last_job_counts_and_a_result_may_name_the_asset() -> None:
    ends = Endings()
    ends.listen(60.0)
    ends.completed(claimed("metadata", ASSET), None)
    ends.completed(claimed("thumbnails", ASSET), {"asset_id": "of another kind"})
    other = uuid4()
    ends.completed(claimed("ingest"), {"asset_id": str(other)})
    ends.completed(claimed("ingest"), {"asset_id": "none"})
    ends.completed(claimed("ingest"), {"asset_id": 7})
    ends.discarded(claimed("ingest"))
    gathered = ends.take()
    assert gathered.assets == {ASSET: "thumbnails", other: "ingest"}
    assert (gathered.completed, gathered.discarded) == (Counter(metadata=1, thumbnails=1, ingest=3), Counter(ingest=1))
    assert gathered.is_whole
    assert not ends.take()


def test_there_is_an_end_to_it() -> None:
    ends = Endings()
    ends.listen(60.0)
    for _ in range(endings.ASSETS_MAX + 1):
        ends.completed(claimed("work", uuid4()), None)
    for number in range(endings.KINDS_MAX + 1):
        ends.completed(claimed(f"kind {number}"), None)
    gathered = ends.take()
    assert len(gathered.assets) == endings.ASSETS_MAX
    assert len(gathered.completed) == endings.KINDS_MAX
    assert not gathered.is_whole
    assert ends.take().is_whole


def test_a_call_says_what_was_written() -> None:
    gathered = Gathered(
        Counter({"ingest": 3, "a kind = of two": 1}), Counter(work=2), {uuid4(): "ingest", uuid4(): "x y"}, False
    )
    call = calls.Call(frozenset("ab"), frozenset("c"), frozenset({5}), True, True, uuid4(), gathered)
    assert calls.read(calls.written(call)) == call
    assert calls.read("") is None
    odd = calls.read("=x work\n!\n#12 work\n#zz\n@no\n-x\n?")
    assert odd == calls.Call()


def test_what_is_gathered_fits_a_notification() -> None:
    kinds = ("ingest", "metadata", "thumbnails", "transcode", "develop", "retire", "purge", "scan", "plan", "relayout")
    assets = {uuid4(): "thumbnails" for _ in range(endings.ASSETS_MAX)}
    counts = Counter[str](dict.fromkeys(kinds, 123_456))
    call = calls.Call(by=uuid4(), gathered=Gathered(counts, counts, assets, False))
    assert len(calls.written(call)) <= calls.PAYLOAD_BYTES


async def heard(database: Database, engine: Engine, *, task_status: trio.TaskStatus[None]) -> None:
    def hear(_channel: str, payload: str) -> None:
        engine.heard(payload)

    await listen(database, [waking.CHANNEL], hear, task_status=task_status)


async def do(running: Running) -> None:
    if running.args.get("fails"):
        raise Permanent("it does not work", code="no_use")


@pytest.mark.parametrize("assets", [1, 250])
async def test_other_processes_tell_while_one_listens(database: Database, serving: Serving, assets: int) -> None:
    def found() -> Gathered:
        taken = listener.endings.take()
        seen.completed.update(taken.completed)
        seen.discarded.update(taken.discarded)
        seen.assets.update(taken.assets)
        seen.is_whole = seen.is_whole and taken.is_whole
        return seen

    jobs: list[Any] = [WORK.new({}, asset_id=AssetId(uuid4())) for _ in range(assets)]
    jobs.append(WORK.new({"fails": True}, asset_id=ASSET))
    seen = Gathered()
    async with (
        serving([], queues=["idle"]) as listener,
        serving([Kind("work", "work", each(do))]) as worker,
        trio.open_nursery() as nursery,
    ):
        for engine in (listener, worker):
            await nursery.start(partial(heard, database, engine))
        await until(lambda: listener.keeper.others)
        listener.endings.listen(60.0)
        assert await listener.listen()
        await until(lambda: worker.endings.tells)
        assert not listener.endings.tells
        await worker.call(enqueue, jobs)
        await until(lambda: found().completed["work"] == assets and seen.discarded["work"] == 1)
        assert set(seen.assets) <= {job.asset_id for job in jobs}
        assert seen.is_whole == (set(seen.assets) == {job.asset_id for job in jobs})
        nursery.cancel_scope.cancel()
