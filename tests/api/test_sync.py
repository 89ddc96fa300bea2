"""Runs, plans and held deletions over the API, on real trees."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import msgspec
import psycopg
import pytest

from lumiliod.api import app as api
from lumiliod.contract.sync import (
    HeldDeletions,
    HeldList,
    LiveSync,
    RepositorySync,
    SyncOperation,
    SyncOperationPage,
    SyncOverview,
    SyncPlanPage,
    SyncTicket,
)
from lumiliod.domain.ids import RepositoryId
from lumiliod.runtime import Runtime
from tests.pipeline import shelf as shelves
from tests.pipeline.shelf import Shelf
from tests.watch import scanning

from . import wire
from .wire import Client, serving
from .working import Events

NOBODYS = UUID(int=1)


@dataclass
class Asked:
    """A library that scans, and the API over it."""

    shelf: Shelf
    rt: Runtime
    server: wire.Running

    async def ask(self, method: str, path: str, status: int = 200, **body: Any) -> Any:
        sent = json.dumps(body).encode() if method != "GET" else b""
        reply = await self.server.ask(method, f"/api/v1{path}", body=sent)
        assert reply.status == status, reply.body
        return reply.json

    async def code(self, method: str, path: str, status: int, **body: Any) -> str:
        return str((await self.ask(method, path, status, **body))["code"])

    async def done(self, path: str, **body: Any) -> dict[str, Any]:
        """Ask for something that is a job; return its result."""
        ticket = await self.ask("POST", path, 202, **body)
        return await scanning.ended(self.rt, UUID(ticket["task_id"]))

    def plant(self, folder: str, count: int) -> None:
        (self.shelf.path / folder).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            (self.shelf.path / folder / f"{number:03}.jpg").write_bytes(b"x")

    def empty(self, folder: str) -> None:
        for path in (self.shelf.path / folder).iterdir():
            path.unlink()


@pytest.fixture
async def asked(conninfo: str, tmp_path: Path) -> AsyncIterator[Asked]:
    shelf = shelves.make(conninfo, tmp_path / "home")
    async with scanning.scanning(shelf) as rt, serving(api.create(rt), str(tmp_path / "s")) as server:
        yield Asked(shelf, rt, server)


async def test_a_scan_of_a_folder_is_asked_for_and_found_in_the_history(asked: Asked) -> None:
    asked.plant("a/ü", 2)
    asked.plant("b", 3)
    assert (await asked.done("/repositories/home/sync", folder="a/%C3%BC"))["found"] == 2
    assert (await asked.done("/repositories/home/sync", folder="a/ü"))["found"] == 2
    assert (await asked.done("/repositories/home/sync"))["found"] == 5
    page = msgspec.convert(await asked.ask("GET", "/sync/operations?limit=2"), SyncOperationPage)
    assert [(one.scope, one.folder, one.type, one.status) for one in page.items] == [
        ("full", "", "manual", "completed"),
        ("folder", "a/ü", "manual", "completed"),
    ]
    rest = msgspec.convert(
        await asked.ask("GET", f"/sync/operations?limit=2&cursor={page.next_cursor}"), SyncOperationPage
    )
    assert (len(rest.items), rest.next_cursor) == (1, None)
    one = await asked.ask("GET", f"/sync/operations/{page.items[0].id}")
    assert msgspec.convert(one, SyncOperation) == page.items[0]
    found = await asked.ask("GET", "/sync/operations?repository=home&type=realtime&status=failed")
    assert found["items"] == []


async def test_how_repositories_are_kept_in_step(asked: Asked) -> None:
    asked.plant("a", 1)
    await asked.done("/repositories/home/sync")
    [one] = msgspec.convert(await asked.ask("GET", "/sync"), SyncOverview).items
    assert one == msgspec.convert(await asked.ask("GET", "/repositories/home/sync"), RepositorySync)
    assert one.last is not None
    assert (one.repository, one.status, one.open, one.held, one.last.added) == ("home", "online", [], None, 1)


async def test_a_plan_is_told_in_pages(asked: Asked) -> None:
    asked.plant("a", 5)
    ticket = msgspec.convert(await asked.ask("POST", "/repositories/home/sync", 202, plan=True), SyncTicket)
    await scanning.ended(asked.rt, ticket.task_id)
    path = f"/sync/plans/{ticket.task_id}?limit=3"
    first = msgspec.convert(await asked.ask("GET", path), SyncPlanPage)
    assert (first.plan.added, first.plan.repository, first.plan.finished_at is not None) == (5, "home", True)
    second = msgspec.convert(await asked.ask("GET", f"{path}&cursor={first.next_cursor}"), SyncPlanPage)
    paths = [one.path for one in [*first.items, *second.items]]
    assert paths == [f"a/{number:03}.jpg" for number in range(5)]
    assert second.next_cursor is None
    assert (await asked.ask("GET", f"{path}&action=retired"))["items"] == []


async def test_a_person_decides_about_what_is_held(asked: Asked) -> None:
    asked.plant("a", 60)
    await asked.done("/repositories/home/sync")
    asked.empty("a")
    assert (await asked.done("/repositories/home/sync"))["status"] == "held"
    [one] = msgspec.convert(await asked.ask("GET", "/sync/held"), HeldList).items
    assert (one.repository, one.files, one.known, len(one.examples)) == ("home", 60, 60, 5)
    assert (await asked.ask("GET", "/status"))["held_repositories"] == ["home"]
    page = await asked.ask("GET", "/repositories/home/held?limit=50")
    rest = await asked.ask("GET", f"/repositories/home/held?limit=50&cursor={page['next_cursor']}")
    assert len(page["items"]) + len(rest["items"]) == 60
    shown = str(one.plan_id)
    decided = await asked.ask("POST", "/repositories/home/held/reject", plan_id=shown)
    assert msgspec.convert(decided, HeldDeletions).state == "rejected"
    assert (await asked.ask("GET", "/repositories/home/sync"))["held"]["state"] == "rejected"
    assert await asked.code("POST", "/repositories/home/held/approve", 409, plan_id=str(uuid4())) == "plan_changed"
    assert (await asked.done("/repositories/home/held/approve", plan_id=shown))["missing"] == 60
    assert (await asked.ask("GET", "/sync/held"))["items"] == []


async def test_approve_deletions_is_the_same_verb(asked: Asked) -> None:
    assert await asked.code("POST", "/repositories/home/approve-deletions", 409) == "nothing_held"
    asked.plant("a", 60)
    await asked.done("/repositories/home/sync")
    asked.empty("a")
    await asked.done("/repositories/home/sync")
    assert (await asked.done("/repositories/home/approve-deletions"))["missing"] == 60


async def test_each_beginning_and_each_end_is_told(asked: Asked) -> None:
    def newest(_: str, data: Any) -> tuple[str, int]:
        told = msgspec.convert(data, LiveSync).items
        return (told[0].status, len(told)) if told else ("", 0)

    stream = await asked.server.connect()
    async with stream:
        events = Events(Client(stream))
        await events.begin("/api/v1/sync/live")
        await events.until(lambda name, data: newest(name, data) == ("", 0))
        asked.plant("a", 1)
        with_lock = psycopg.connect(asked.shelf.conninfo)
        with_lock.execute("LOCK file_records IN SHARE MODE")
        ticket = await asked.ask("POST", "/repositories/home/sync", 202)
        await events.until(lambda name, data: newest(name, data) == ("running", 1))
        with_lock.close()
        await scanning.ended(asked.rt, UUID(ticket["task_id"]))
        await events.until(lambda name, data: newest(name, data) == ("completed", 1))


@pytest.mark.parametrize(
    ("method", "path", "body", "answer"),
    [
        ("GET", "/repositories/nowhere/sync", {}, "404 repository_not_found"),
        ("GET", "/sync/operations?repository=nowhere", {}, "404 repository_not_found"),
        ("GET", "/sync/operations?type=often", {}, "400 bad_type"),
        ("GET", "/sync/operations?status=fine", {}, "400 bad_status"),
        ("GET", "/sync/operations?cursor=%00", {}, "400 bad_request"),
        ("GET", "/sync/operations?cursor=abc", {}, "400 bad_cursor"),
        ("GET", "/sync/operations?limit=501", {}, "400 bad_request"),
        ("GET", "/sync/operations?x=1", {}, "400 bad_request"),
        ("GET", f"/sync/operations/{NOBODYS}", {}, "404 sync_operation_not_found"),
        ("GET", "/sync/operations/x", {}, "404 not_found"),
        ("GET", f"/sync/plans/{NOBODYS}", {}, "404 plan_not_found"),
        ("GET", f"/sync/plans/{NOBODYS}?action=eaten", {}, "400 bad_action"),
        ("GET", f"/sync/plans/{NOBODYS}?cursor=gaE", {}, "400 bad_cursor"),
        ("GET", "/repositories/nowhere/held", {}, "404 repository_not_found"),
        ("POST", "/repositories/nowhere/sync", {}, "404 repository_not_found"),
        ("POST", "/repositories/home/sync", {"folder": "../home"}, "400 bad_path"),
        ("POST", "/repositories/home/sync", {"folder": "/etc"}, "400 bad_path"),
        ("POST", "/repositories/home/sync", {"folder": "a%00"}, "400 bad_path"),
        ("POST", "/repositories/home/sync", {"folder": "a\0"}, "400 bad_request"),
        ("POST", "/repositories/home/sync", {"folder": "nowhere"}, "404 folder_not_found"),
        ("POST", "/repositories/home/sync", {"folder": "x" * 9000}, "400 bad_request"),
        ("POST", "/repositories/home/sync", {"folder": "x" * 3000}, "404 folder_not_found"),
        ("POST", "/repositories/home/sync", {"folder": 7}, "400 bad_request"),
        ("POST", "/repositories/home/sync", {"plan": "yes"}, "400 bad_request"),
        ("POST", "/repositories/home/sync", {"deep": True}, "400 bad_request"),
        ("POST", "/repositories/nowhere/held/approve", {}, "404 repository_not_found"),
        ("POST", "/repositories/nowhere/held/reject", {}, "404 repository_not_found"),
        ("POST", "/repositories/home/held/approve", {}, "409 nothing_held"),
        ("POST", "/repositories/home/held/reject", {}, "409 nothing_held"),
        ("POST", "/repositories/home/held/reject", {"plan_id": "x"}, "400 bad_request"),
    ],
)
async def test_what_is_asked_wrongly(asked: Asked, method: str, path: str, body: Any, answer: str) -> None:
    status, code = answer.split()
    assert await asked.code(method, path, int(status), **body) == code


async def test_a_repository_that_is_away_is_for_later(asked: Asked) -> None:
    asked.rt.repositories.lose(RepositoryId(asked.shelf.id), "unplugged")
    for body in ({}, {"plan": True}, {"folder": "a"}):
        assert await asked.code("POST", "/repositories/home/sync", 503, **body) == "repository_offline"
    assert await asked.code("POST", "/repositories/home/held/approve", 503) == "repository_offline"
    told = await asked.ask("GET", "/repositories/home/sync")
    assert (told["status"], told["status_reason"]) == ("offline", "unplugged")
