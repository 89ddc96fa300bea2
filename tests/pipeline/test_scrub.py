"""Reading everything again: what is found, what never is, how much is read, and that nothing is read twice."""

import os
import random
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pytest
import trio

from lumiliod.config import Integrity
from lumiliod.db import derivatives as db_derivatives
from lumiliod.db import findings, integrity_runs, job_admin
from lumiliod.db.pool import Database
from lumiliod.domain.assets import NewDerivative
from lumiliod.domain.derivatives import place
from lumiliod.domain.ids import Digest
from lumiliod.domain.schedules import Timing
from lumiliod.jobs import schedule
from lumiliod.pipeline import kinds, prune, schedules, untracked
from lumiliod.pipeline.scrub import CATCH_UP_S, DAY_S, credit_bytes
from lumiliod.storage import repository as storage

from .originals import Library, library, reopened, serving, taken_in


@pytest.fixture
async def kept(database: Database, tmp_path: Path) -> AsyncIterator[Library]:
    async with library(database, tmp_path / "home", scrub_mb_per_s=0) as made:
        yield made


async def test_every_flipped_byte_is_found_and_nothing_else(kept: Library) -> None:
    await kept.add(40)
    rng = random.Random(1)
    bad = rng.sample(kept.originals, 13)
    for original in bad:
        original.rot()
    row = await kept.verified()
    assert (row.state, row.result) == (
        "completed",
        {
            "files": 40,
            "bytes": sum(len(one.content) * (2 if one in bad else 1) for one in kept.originals),
            "found": 13,
            "unstable": 0,
            "away": [],
        },
    )
    assert await kept.kinds_found() == {one.relative: "bit_rot" for one in bad}
    for found in await kept.findings():
        assert found.found is not None
        assert found.asset_id in {one.asset_id for one in bad}
    again = await kept.verified()
    assert again.result is not None
    assert again.result["found"] == 13
    assert len(await kept.findings(None)) == 13


async def test_what_is_good_again_is_resolved_and_what_is_ignored_stays_so(kept: Library) -> None:
    first, second, third = await kept.add(3)
    for original in (first, second, third):
        original.rot()
    await kept.verified()
    ids = {found.path: found.id for found in await kept.findings()}
    await kept.rt.db.call(findings.ignore, [ids[second.relative]])
    first.rot()
    await kept.verified()
    assert {one.path: one.state for one in await kept.findings(None)} == {
        first.relative: "resolved",
        second.relative: "ignored",
        third.relative: "open",
    }
    second.rot()
    await kept.verified()
    assert {one.state for one in await kept.findings(None) if one.path == second.relative} == {"resolved"}


async def test_each_harm_has_its_name(kept: Library) -> None:
    truncated, replaced, deleted, linked, edited, moved, fine = await kept.add(7)
    os.truncate(truncated.path, 100)
    other = replaced.path.with_suffix(".new")
    other.write_bytes(replaced.content[::-1])
    other.rename(replaced.path)
    deleted.path.unlink()
    linked.path.rename(kept.root / "trip" / "target")
    linked.path.symlink_to(kept.root / "trip" / "target")
    edited.path.write_bytes(edited.content + b"and a caption")
    moved.path.rename(kept.root / "trip" / "renamed.jpg")
    await kept.verified()
    assert await kept.kinds_found() == {
        truncated.relative: "changed",
        replaced.relative: "changed",
        deleted.relative: "missing",
        linked.relative: "unreadable",
        edited.relative: "changed",
        moved.relative: "missing",
    }
    assert fine.is_good


async def test_what_a_person_edited_is_ingested_anew(kept: Library) -> None:
    edited, rotten = await kept.add(2)
    edited.path.write_bytes(b"another picture")
    rotten.rot()
    await kept.verified()
    assert await kept.open_jobs("ingest") == [("ingest", f"file:{edited.file_id}")]
    # until then it is what it was
    assert await kept.ask("SELECT id FROM file_records WHERE outcome <> 'asset'") == []
    # once it is something else, there is nothing left to say
    other = "UPDATE file_records SET outcome = 'pending', digest = NULL, asset_id = NULL WHERE id = %s"
    await kept.ask(other, edited.file_id)
    assert await kept.kinds_found() == {rotten.relative: "bit_rot"}
    await kept.verified()
    assert {one.path: one.state for one in await kept.findings(None)}[edited.relative] == "resolved"


@pytest.mark.parametrize("swap", ["empty", "another", "gone"])
async def test_nothing_is_concluded_from_a_root_that_is_away(kept: Library, swap: str) -> None:
    await kept.add(5)
    away = kept.root.with_name("away")
    kept.root.rename(away)
    if swap != "gone":
        kept.root.mkdir()
    if swap == "another":
        storage.create(str(kept.root), "Another")
    row = await kept.verified()
    assert row.result is not None
    assert (row.state, row.result["files"], row.result["away"]) == ("completed", 0, ["home"])
    assert await kept.findings(None) == []
    assert await kept.ask("SELECT count(*) FROM file_records WHERE checked_at IS NOT NULL") == [(0,)]
    assert not kept.rt.repositories.is_open(kept.opened.id)


async def test_one_repository_that_is_away_is_waited_for(kept: Library) -> None:
    """The attempt does not count, and what was read is not read again when it is back."""
    await kept.add(5)
    away = kept.root.with_name("away")
    kept.root.rename(away)
    job_id = await kept.engine.call(kinds.enqueue_one, kinds.verify(kept.opened.id))
    row = await kept.until(job_id, "retryable", "scheduled", errors=1)
    assert (row.errors[-1]["code"], row.errors[-1]["put_off"], row.attempt) == ("repository_offline", True, 0)
    away.rename(kept.root)
    reopened(kept.rt, kept.opened)
    await kept.ask("UPDATE jobs SET scheduled_at = now() WHERE id = %s", job_id)
    row = await kept.ended(job_id)
    assert row.result is not None
    assert (row.state, row.result["files"], row.result["found"]) == ("completed", 5, 0)


async def test_a_repository_that_goes_keeps_no_other_from_being_read(kept: Library, tmp_path: Path) -> None:
    await kept.add(5)
    other = tmp_path / "other"
    other.mkdir()
    storage.create(str(other), "other")
    opened = await taken_in(kept.rt, other)
    second = Library(kept.rt, opened, kept.backend_of)
    await second.add(4)
    kept.root.rename(tmp_path / "away")
    row = await kept.verified()
    assert row.result is not None
    assert (row.result["files"], row.result["away"]) == (4, ["home"])
    assert await kept.findings(None) == []


class Opens:
    """Which files this process opens, by name, as the interpreter's audit hook tells."""

    active: "Counter[str] | None" = None
    hooked = False

    @classmethod
    @contextmanager
    def counted(cls) -> Iterator["Counter[str]"]:
        if not cls.hooked:
            sys.addaudithook(cls._hook)
            cls.hooked = True
        cls.active = Counter()
        try:
            yield cls.active
        finally:
            cls.active = None

    @classmethod
    def _hook(cls, event: str, args: tuple[Any, ...]) -> None:
        if event == "open" and cls.active is not None and isinstance(args[0], str) and args[0].endswith(".jpg"):
            cls.active[args[0]] += 1


async def test_killed_again_and_again_it_reads_each_file_once(database: Database, tmp_path: Path) -> None:
    """But for the one it was reading when it was killed."""
    async with library(database, tmp_path / "home", served=False) as kept:
        await kept.add(150)
        job_id = await kept.engine.call(kinds.enqueue_one, kinds.verify())
        kills = 0
        with Opens.counted() as opens:
            for goal in (20, 60, 100):
                async with serving(kept) as engine:
                    with trio.fail_after(60):
                        while (await kept.ask("SELECT coalesce(sum(files), 0) FROM integrity_runs"))[0][0] < goal:
                            await trio.lowlevel.checkpoint()
                    engine.cancel()
                kills += 1
                ((done,),) = await kept.ask("SELECT files FROM integrity_runs")
                assert goal <= done < 150
            async with serving(kept):
                row = await kept.ended(job_id)
        assert row.result is not None
        assert (row.state, row.result["files"], row.attempt) == ("completed", 150, 1)
        assert len(opens) == 150
        assert sum(opens.values()) <= 150 + kills
        read = sum(len(one.content) for one in kept.originals)
        assert await kept.ask("SELECT files, read_bytes FROM integrity_runs") == [(150, read)]


async def test_cancelling_ends_it_in_the_middle_of_a_file(database: Database, tmp_path: Path) -> None:
    """Had it been read to its end, it would be stamped."""
    async with library(database, tmp_path / "home", scrub_mb_per_s=1) as kept:
        await kept.add(1, size_bytes=8 << 20)
        job_id = await kept.engine.call(kinds.enqueue_one, kinds.scrub())
        await kept.until(job_id, "running")
        with trio.fail_after(30):
            while not await kept.ask("SELECT 1 FROM integrity_runs"):
                await trio.sleep(0.01)
            cancelled = await kept.rt.db.call(job_admin.cancel, [job_id])
            await kept.engine.told(tokens=cancelled.tokens)
            while any(cast(Any, lane).units for lane in kept.engine.lanes):
                await trio.sleep(0.01)
        assert await kept.ask("SELECT count(*) FROM file_records WHERE checked_at IS NOT NULL") == [(0,)]


# how much a slice reads


@pytest.mark.parametrize(
    ("left", "age_s", "total", "days", "expected"),
    [
        (0, DAY_S, 3000, 30, 100),
        (0, DAY_S / 2, 3000, 30, 50),
        (-250, DAY_S, 3000, 30, -150),
        (40, DAY_S, 3000, 30, 140),
        (0, 90 * DAY_S, 3000, 30, 700),
        (0, DAY_S, 0, 30, 0),
    ],
)
def test_what_a_slice_may_read(left: int, age_s: float, total: int, days: int, expected: int) -> None:
    assert CATCH_UP_S == 7 * DAY_S
    assert credit_bytes(left, age_s, total, days) == expected


async def a_day_passes(kept: Library) -> None:
    await kept.ask("UPDATE integrity_runs SET started_at = started_at - interval '1 day'")
    await kept.ask("UPDATE file_records SET checked_at = checked_at - interval '1 day',"
                   " verified_at = verified_at - interval '1 day'")  # fmt: skip
    await kept.ask("UPDATE mirror_copies SET verified_at = verified_at - interval '1 day'")


async def test_everything_is_read_within_the_period_and_the_oldest_first(database: Database, tmp_path: Path) -> None:
    """Sizes from one to thirty; a day's slice is a tenth of all bytes, give or take the last file of it."""
    days = 10
    async with library(database, tmp_path / "home", scrub_days=days, scrub_mb_per_s=0) as kept:
        for number in range(30):
            await kept.add(1, size_bytes=1000 * (number * 7 % 30 + 1))
        total = sum(len(one.content) for one in kept.originals)
        reads: list[int] = []
        for _ in range(3 * days):
            with Opens.counted() as opens:
                row = await kept.run(kinds.scrub())
            assert row.state == "completed"
            reads.append(sum(len(one.content) for one in kept.originals if opens[one.path.name]))
            assert all(opens[one.path.name] <= 1 for one in kept.originals)
            await a_day_passes(kept)
        largest = max(len(one.content) for one in kept.originals)
        for day in range(len(reads)):
            assert abs(sum(reads[: day + 1]) - total / days * (day + 1)) <= largest + days
        ((oldest_days, never),) = await kept.ask(
            "SELECT extract(epoch FROM now() - min(verified_at)) / 86400, count(*) FILTER (WHERE verified_at IS NULL)"
            " FROM file_records"
        )
        assert never == 0
        assert oldest_days <= days + 1.1


async def test_a_slice_that_is_killed_goes_on_within_its_budget(database: Database, tmp_path: Path) -> None:
    async with library(database, tmp_path / "home", served=False, scrub_days=1, scrub_mb_per_s=0) as kept:
        await kept.add(150)
        job_id = await kept.engine.call(kinds.enqueue_one, kinds.scrub())
        async with serving(kept) as engine:
            with trio.fail_after(60):
                while (await kept.ask("SELECT coalesce(sum(files), 0) FROM integrity_runs"))[0][0] < 30:
                    await trio.lowlevel.checkpoint()
            engine.cancel()
        async with serving(kept):
            assert (await kept.ended(job_id)).state == "completed"
        ((files, budget, read),) = await kept.ask("SELECT files, budget_bytes, read_bytes FROM integrity_runs")
        assert (files, budget, read) == (150, read, sum(len(one.content) for one in kept.originals))


async def test_off_is_off(database: Database, tmp_path: Path) -> None:
    async with library(database, tmp_path / "home", scrub_days=0) as kept:
        await kept.add(3)
        assert (await kept.run(kinds.scrub())).state == "completed"
        assert await kept.ask("SELECT 1 FROM integrity_runs") == []


def test_the_schedule(conn: Any) -> None:
    schedules.declare_scrub(conn, 30)
    (row,) = schedule.listed(conn)
    assert (row.name, row.timing, row.job().unique_key) == ("scrub", Timing(every_s=DAY_S, jitter_s=4320), "scrub")
    schedules.declare_scrub(conn, 0)
    assert schedule.listed(conn) == []
    assert Integrity().scrub_days == 30


# orphans


async def test_orphans_are_found_and_closed(kept: Library) -> None:
    (known,) = await kept.add(1, folder="inbox/2024/07")
    stray = kept.root / "inbox" / "2024" / "stray.jpg"
    left = kept.root / ".lumilio" / "assets" / "thumbnails" / "150" / "aa"
    left.mkdir(parents=True)
    stray.write_bytes(b"bytes")
    (left / "old.jpg").write_bytes(b"thumbnail")
    row = await kept.ask("SELECT id FROM assets")
    mine = left / "mine.jpg"
    mine.write_bytes(b"thumbnail")
    await kept.ask(
        "INSERT INTO derivatives (asset_id, kind, repository_id, path, recipe, mime_type, size_bytes)"
        " VALUES (%s, 'thumbnail_150', %s, 'assets/thumbnails/150/aa/mine.jpg', 'x', 'image/jpeg', 9)",
        row[0][0],
        kept.opened.id,
    )
    run = await kept.rt.db.call(integrity_runs.begin_run, known.file_id, "verify")
    assert await untracked.look(kept.rt, kept.opened, run) == 0, "they are too young"
    assert await untracked.look(kept.rt, kept.opened, run, age_s=0.0) == 2
    assert {(one.path, one.kind, one.code) for one in await kept.findings()} == {
        ("inbox/2024/stray.jpg", "untracked", "no_record"),
        (".lumilio/assets/thumbnails/150/aa/old.jpg", "untracked", "no_derivative"),
    }
    stray.unlink()
    later = await kept.rt.db.call(integrity_runs.begin_run, known.asset_id, "verify")
    assert await untracked.look(kept.rt, kept.opened, later, age_s=0.0) == 1
    assert [one.path for one in await kept.findings()] == [".lumilio/assets/thumbnails/150/aa/old.jpg"]


async def test_derivatives_that_no_row_names_are_left_over_and_removed(kept: Library) -> None:
    (known,) = await kept.add(1)
    lumilio = Path(kept.opened.repository.lumilio)
    at = place("thumbnail_150", known.digest, "jpg")
    made = NewDerivative("thumbnail_150", at, "r", "image/jpeg", 9, None, None)
    await kept.rt.db.call(db_derivatives.put, [db_derivatives.Made(known.asset_id, kept.opened.id, [made])])
    named, named_else = lumilio / at, lumilio / at.replace(".jpg", ".a.jpg")
    older, of_another = (
        lumilio / place("thumbnail_150", one, "jpg", "r-0") for one in (known.digest, Digest("0" * 64))
    )
    for one in (named, older, of_another, named_else):
        one.parent.mkdir(parents=True, exist_ok=True)
        one.write_bytes(b"thumbnail")
    run = await kept.rt.db.call(integrity_runs.begin_run, known.file_id, "verify")
    assert await untracked.look(kept.rt, kept.opened, run) == 0, "they are too young"
    assert await prune.remove_leftovers(kept.rt, kept.opened, 3600.0) == []
    assert older.exists()
    assert await untracked.look(kept.rt, kept.opened, run, age_s=0.0) == 1
    assert [one.exists() for one in (named, older, of_another, named_else)] == [True, False, False, True]
    assert {one.code for one in await kept.findings()} == {"no_derivative"}
    for one in (older, of_another):
        one.write_bytes(b"again")
    assert await prune.remove_leftovers(kept.rt, kept.opened, 0.0) == [5, 5]
    assert [one.exists() for one in (named, older, of_another, named_else)] == [True, False, False, True]


async def test_orphans_of_a_root_that_is_away(kept: Library) -> None:
    await kept.add(1)
    stray = kept.root / "inbox" / "stray.jpg"
    stray.write_bytes(b"bytes")
    run = await kept.rt.db.call(integrity_runs.begin_run, kept.opened.id, "verify")
    assert await untracked.look(kept.rt, kept.opened, run, age_s=0.0) == 1
    kept.root.rename(kept.root.with_name("away"))
    row = await kept.verified()
    assert row.result is not None
    assert row.result["away"] == ["home"]
    assert [one.state for one in await kept.findings(None)] == ["open"]
