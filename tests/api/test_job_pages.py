"""Jobs page by page over the API: in every order, in both directions, from either end."""

from typing import Any

import msgspec
import pytest

from lumiliod.contract.jobs import Job, JobPage
from lumiliod.db import job_admin
from lumiliod.db.pool import Database
from lumiliod.domain.jobs import NewJob
from lumiliod.jobs.kind import JobSpec

from .working import HOME, WORK, Working, working

OTHER = JobSpec("other", "aside")

SORTS = ("created", "kind", "queue", "state", "cause", "priority", "attempt", "scheduled")


def mixed() -> list[NewJob]:
    specs = (WORK, OTHER)
    return [specs[number % 2].new({"number": number}, priority=number % 4 + 1) for number in range(23)]


async def asked(library: Working, query: str) -> JobPage:
    return msgspec.convert(await library.ask("GET", f"/jobs?{query}"), JobPage)


async def forward(library: Working, query: str) -> list[Job]:
    page = await asked(library, f"{query}&limit=5")
    assert page.prev_cursor is None
    found = page.items
    while page.next_cursor is not None:
        page = await asked(library, f"{query}&limit=5&cursor={page.next_cursor}")
        found += page.items
    return found


async def backward(library: Working, query: str) -> list[Job]:
    page = await asked(library, f"{query}&limit=5&last=true")
    assert page.next_cursor is None
    found = page.items
    while page.prev_cursor is not None:
        page = await asked(library, f"{query}&limit=5&cursor={page.prev_cursor}")
        found = page.items + found
    return found


@pytest.mark.parametrize("sort", [*SORTS, *(f"-{sort}" for sort in SORTS)])
async def test_every_order_is_whole_from_either_end(database: Database, socket_path: str, sort: str) -> None:
    async with working(database, socket_path, [], idle=True) as library:
        ids = await library.enqueue(*mixed())
        await database.call(job_admin.discard, ids[3:9], "corrupt", "broken")
        found = await forward(library, f"sort={sort}")
        assert {job.id for job in found} == set(ids)
        assert len(found) == len(ids)
        assert await backward(library, f"sort={sort}") == found
        name = sort.removeprefix("-")
        if name == "created":
            ranks: list[Any] = [job.id.bytes for job in found]
        else:
            ranks = [_rank(job, name) for job in found]
        assert ranks == sorted(ranks, reverse=sort.startswith("-"))


def _rank(job: Job, name: str) -> Any:
    value = job.scheduled_at if name == "scheduled" else getattr(job, name)
    return value if value is not None else ""


async def test_an_order_keeps_to_its_filter(database: Database, socket_path: str) -> None:
    async with working(database, socket_path, [], idle=True) as library:
        await library.enqueue(*mixed())
        found = await forward(library, "sort=priority&kind=other")
        assert len(found) == 11
        assert {job.kind for job in found} == {"other"}


async def test_what_has_ended_is_sorted_by_age_alone(database: Database, socket_path: str) -> None:
    async with working(database, socket_path, [], idle=True) as library:
        [done, _] = await library.enqueue(*mixed()[:2])
        await library.ask("POST", f"/jobs/{done}/cancel")
        assert [job.id for job in await forward(library, "sort=created&state=cancelled")] == [done]
        assert await library.problem("GET", "/jobs?state=cancelled&sort=kind", 400) == "bad_sort"
        assert [job.kind for job in await forward(library, "sort=kind")] == ["other"]


async def test_a_cursor_belongs_to_its_order(database: Database, socket_path: str) -> None:
    async with working(database, socket_path, [], idle=True) as library:
        await library.enqueue(*mixed())
        page = await asked(library, "sort=kind&limit=5")
        assert await library.problem("GET", f"/jobs?cursor={page.next_cursor}", 400) == "bad_cursor"
        page = await asked(library, "limit=5")
        assert await library.problem("GET", f"/jobs?sort=kind&cursor={page.next_cursor}", 400) == "bad_cursor"
        await library.problem("GET", "/jobs?sort=colour", 400)


async def test_what_a_job_is_about(database: Database, socket_path: str) -> None:
    async with working(database, socket_path, [], idle=True) as library:
        named = WORK.new({"filename": "a.jpg"})
        folder = WORK.new({"folder": "2024/05", "file": "not an id"}, repository_id=HOME)
        nothing = WORK.new({})
        ids = await library.enqueue(named, folder, nothing)
        told = {job.id: job.about for job in (await asked(library, "limit=5")).items}
        assert told == {ids[0]: "a.jpg", ids[1]: "2024/05", ids[2]: None}
        shown = msgspec.convert(await library.ask("GET", f"/jobs/{ids[0]}"), Job)
        assert shown.about == "a.jpg"
