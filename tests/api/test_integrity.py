"""Integrity and mirrors over the API, on real files."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest
import trio

from lumiliod.api import app as api
from lumiliod.db import integrity_runs, mirrors
from lumiliod.db.pool import Database
from lumiliod.domain.errors import Conflict
from lumiliod.domain.ids import JobId
from lumiliod.library import plan as library_plan
from lumiliod.library import relocation
from lumiliod.pipeline import untracked
from lumiliod.storage import repository as storage
from tests.pipeline.originals import Library, library, taken_in

from . import wire
from .wire import serving


@dataclass
class Asked:
    """A library and the API over it."""

    kept: Library
    server: wire.Running

    async def ask(self, method: str, path: str, status: int = 200, **body: Any) -> Any:
        sent = json.dumps(body).encode() if method != "GET" else b""
        reply = await self.server.ask(method, f"/api/v1{path}", body=sent)
        assert reply.status == status, reply.body
        return reply.json

    async def code(self, method: str, path: str, status: int, **body: Any) -> str:
        told = await self.ask(method, path, status, **body)
        return str(told["code"])

    async def done(self, ticket: dict[str, Any]) -> dict[str, Any]:
        await self.kept.ended(JobId(UUID(ticket["task_id"])))
        told: dict[str, Any] = await self.ask("GET", f"/tasks/{ticket['task_id']}")
        return told

    async def approve(self, *ids: str, action: str | None = None) -> list[dict[str, Any]]:
        """Approve findings, or all, as the plan has them now."""
        planned = {item["finding"]["id"]: item["action"] for item in (await self.plan()).values()}
        items = [{"finding_id": id_, "planned": planned.get(id_, "none"), "action": action} for id_ in ids or planned]
        done: list[dict[str, Any]] = (await self.ask("POST", "/integrity/plan/apply", items=items))["items"]
        return done

    async def plan(self) -> dict[str, dict[str, Any]]:
        items = (await self.ask("GET", "/integrity/plan"))["items"]
        return {item["finding"]["path"]: item for item in items}


async def second_at(asked: Asked, root: Path) -> Library:
    """Have a second repository, looked after by the same engine."""
    root.mkdir()
    storage.create(str(root), root.name)
    return Library(asked.kept.rt, await taken_in(asked.kept.rt, root), asked.kept.backend_of)


@pytest.fixture
async def asked(database: Database, tmp_path: Path, socket_path: str) -> AsyncIterator[Asked]:
    async with (
        library(database, tmp_path / "home", scrub_mb_per_s=0, copies=2) as kept,
        serving(api.create(kept.rt), socket_path) as server,
    ):
        yield Asked(kept, server)


async def test_coverage(asked: Asked) -> None:
    empty = await asked.ask("GET", "/integrity")
    assert (empty["share"], empty["never"], empty["through_at"], empty["findings"]) == (1.0, 0, None, {})
    await asked.kept.add(4)
    before = await asked.ask("GET", "/integrity")
    assert (before["share"], before["never"], before["late"]) == (0.0, 4, False)
    assert before["through_at"] is not None
    assert (before["copies_wanted"], before["originals"], before["fewer_copies"]) == (2, 4, 4)
    asked.kept.originals[0].rot()
    task = await asked.done(await asked.ask("POST", "/integrity/verify", 202, all=True))
    assert (task["result"]["files"], task["result"]["found"]) == (4, 1)
    after = await asked.ask("GET", "/integrity")
    assert after["never"] == 1
    assert 0.7 < after["share"] < 0.8
    assert after["findings"] == {"bit_rot": 1}
    assert after["bytes_per_s"] > 0
    (home,) = after["repositories"]
    assert (home["repository"], home["files"], home["verified"]) == ("home", 4, 3)
    assert home["oldest_at"] == after["oldest_at"] is not None


async def test_coverage_leaves_out_what_is_put_away(asked: Asked, tmp_path: Path) -> None:
    """An offline disk is to be verified, and lowers the share; what is detached does not for ever."""
    await asked.kept.add(2)
    await asked.done(await asked.ask("POST", "/integrity/verify", 202, all=True))
    second = await second_at(asked, tmp_path / "second")
    await second.add(1)
    second.rt.repositories.lose(second.opened.id, "unplugged")
    told = await asked.ask("GET", "/integrity")
    assert (told["never"], told["through_at"] is None) == (1, False)
    statuses = {one["repository"]: one["status"] for one in told["repositories"]}
    assert statuses == {"home": "online", "second": "offline"}
    await relocation.detach(second.rt, "second")
    told = await asked.ask("GET", "/integrity")
    assert (told["share"], told["never"], told["through_at"]) == (1.0, 0, None)
    statuses = {one["repository"]: one["status"] for one in told["repositories"]}
    assert statuses == {"home": "online", "second": "detached"}


async def test_what_to_verify(asked: Asked) -> None:
    first, second = await asked.kept.add(2)
    second.rot()
    task = await asked.done(await asked.ask("POST", "/integrity/verify", 202, asset=str(first.asset_id)))
    assert (task["result"]["files"], task["result"]["found"]) == (1, 0)
    task = await asked.done(await asked.ask("POST", "/integrity/verify", 202, repository="home"))
    assert (task["result"]["files"], task["result"]["found"]) == (2, 1)
    for body in ({}, {"all": True, "repository": "home"}, {"all": False}):
        assert await asked.code("POST", "/integrity/verify", 400, **body) == "bad_scope"
    assert await asked.code("POST", "/integrity/verify", 404, repository="none") == "repository_not_found"
    assert await asked.code("POST", "/integrity/verify", 404, asset=str(UUID(int=5))) == "asset_not_found"


async def test_what_a_check_has_passed_is_read_when_a_person_asks_again(asked: Asked) -> None:
    await asked.kept.add(1)
    with psycopg.connect(asked.kept.rt.db.conninfo) as holding:
        holding.execute("LOCK file_records IN SHARE MODE")
        first = await asked.ask("POST", "/integrity/verify", 202, all=True)
        with trio.fail_after(20):
            while not await asked.kept.ask("SELECT 1 FROM pg_locks WHERE NOT granted"):
                await trio.sleep(0.01)
        second = await asked.ask("POST", "/integrity/verify", 202, all=True)
    assert first["task_id"] != second["task_id"]
    assert (await asked.done(second))["result"]["files"] == 1


async def test_an_asset_whose_files_are_away_is_not_verified(asked: Asked, tmp_path: Path) -> None:
    (original,) = await asked.kept.add(1)
    second = await second_at(asked, tmp_path / "second")
    body, repositories = {"asset": str(original.asset_id)}, second.rt.repositories
    repositories.lose(asked.kept.opened.id, "unplugged")
    assert await asked.code("POST", "/integrity/verify", 503, **body) == "repository_offline"
    # what can be read is
    await second.add_twin(original, "twin.jpg")
    task = await asked.done(await asked.ask("POST", "/integrity/verify", 202, **body))
    assert (task["result"]["files"], task["result"]["away"]) == (1, ["home"])
    assert task["repository_id"] == str(second.opened.id)
    for name in ("home", "second"):
        await relocation.detach(second.rt, name)
    assert await asked.code("POST", "/integrity/verify", 503, **body) == "repository_detached"


async def test_findings_by_page_and_filter(asked: Asked) -> None:
    made = await asked.kept.add(5)
    for original in made[:3]:
        original.rot()
    made[3].path.unlink()
    await asked.kept.verified()
    found: list[dict[str, Any]] = []
    cursor = ""
    while True:
        page = await asked.ask("GET", f"/integrity/findings?limit=3{cursor}")
        found += page["items"]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert len(found) == len({one["id"] for one in found}) == 4
    assert found[0].keys() >= {"kind", "code", "state", "path", "detail", "first_seen_at", "last_seen_at"}
    (missing,) = (await asked.ask("GET", "/integrity/findings?kind=missing&repository=home"))["items"]
    assert (missing["path"], missing["state"]) == (made[3].relative, "open")
    unknown = str(UUID(int=9))
    for undo, state, count in ((False, "ignored", 1), (True, "open", 1), (False, "ignored", 1), (False, "ignored", 0)):
        told = await asked.ask("POST", "/integrity/findings/ignore", ids=[missing["id"], unknown], undo=undo)
        assert told["count"] == count
        states = [{"finding_id": missing["id"], "state": state}, {"finding_id": unknown, "state": "not_found"}]
        assert told["items"] == states
    assert len((await asked.ask("GET", "/integrity/findings?state=open"))["items"]) == 3
    assert len((await asked.ask("GET", "/integrity/findings?state=ignored"))["items"]) == 1
    assert (await asked.ask("GET", "/integrity"))["findings"] == {"bit_rot": 3}
    assert await asked.code("GET", "/integrity/findings?state=x", 400) == "bad_state"
    assert await asked.code("GET", "/integrity/findings?kind=x", 400) == "bad_kind"
    assert await asked.code("GET", "/integrity/findings?repository=x", 404) == "repository_not_found"


async def test_a_plan_and_what_a_person_approves(asked: Asked, tmp_path: Path) -> None:
    kept = asked.kept
    rotten, lost, gone, edited, hopeless = await kept.add(5)
    place = tmp_path / "mirror"
    place.mkdir()
    mirror = await asked.ask("POST", "/mirrors", 201, repository="home", location=str(place))
    await kept.settled()
    (shown,) = (await asked.ask("GET", "/mirrors"))["items"]
    assert (shown["id"], shown["status"], shown["copies"], shown["lacking"]) == (mirror["id"], "online", 5, 0)
    for one in (gone, hopeless):
        for path in place.glob(f"originals/*/*/{one.digest}"):
            path.unlink()
        await kept.ask("DELETE FROM mirror_copies WHERE digest = decode(%s, 'hex')", one.digest)
    rotten.rot()
    hopeless.rot()
    lost.path.unlink()
    gone.path.unlink()
    edited.path.write_bytes(b"another picture")
    stray = kept.root / "inbox" / "stray.jpg"
    stray.write_bytes(b"bytes")
    litter = kept.root / ".lumilio" / "assets" / "thumbnails" / "150" / "old.jpg"
    litter.write_bytes(b"thumbnail")
    run = await kept.verified()
    assert run.result is not None
    found_run = await kept.rt.db.call(integrity_runs.run_of_job, run.id)
    assert found_run is not None
    await untracked.look(kept.rt, kept.opened, found_run, age_s=0.0)
    plan = await asked.plan()
    assert {path: (item["action"], item["alternatives"]) for path, item in plan.items()} == {
        rotten.relative: ("restore", []),
        lost.relative: ("restore", ["accept_missing"]),
        gone.relative: ("accept_missing", []),
        edited.relative: ("reingest", ["restore"]),
        hopeless.relative: ("none", []),
        "inbox/stray.jpg": ("adopt", ["quarantine"]),
        ".lumilio/assets/thumbnails/150/old.jpg": ("quarantine", []),
    }
    assert str(place) in plan[rotten.relative]["why"]
    ids = {path: item["finding"]["id"] for path, item in plan.items()}

    unknown = str(UUID(int=9))
    chosen = [ids["inbox/stray.jpg"], unknown]
    applied = await asked.approve(*chosen, action="quarantine")
    assert [(one["finding_id"], one["outcome"], one["code"]) for one in applied] == [
        (chosen[0], "done", None),
        (unknown, "failed", "finding_not_open"),
    ]
    assert not stray.exists()
    refused = await asked.approve(ids[rotten.relative], action="adopt")
    assert [(one["outcome"], one["code"]) for one in refused] == [("failed", "bad_action")]

    applied = await asked.approve()
    outcomes = {one["finding_id"]: (one["action"], one["outcome"], one["code"]) for one in applied}
    assert outcomes == {
        ids[rotten.relative]: ("restore", "queued", None),
        ids[lost.relative]: ("restore", "queued", None),
        ids[gone.relative]: ("accept_missing", "done", None),
        ids[edited.relative]: ("reingest", "queued", None),
        ids[hopeless.relative]: ("none", "failed", "nothing_to_do"),
        ids[".lumilio/assets/thumbnails/150/old.jpg"]: ("quarantine", "done", None),
    }
    await kept.settled()
    assert rotten.is_good
    assert lost.is_good
    assert not litter.exists()
    assert sorted(path.read_bytes() for path in kept.root.joinpath(".lumilio", "quarantine").glob("*.bad"))[:2]
    assert set(await asked.plan()) == {edited.relative, hopeless.relative}
    in_trash = await kept.ask("SELECT id FROM assets WHERE deleted_at IS NOT NULL")
    assert in_trash == [(gone.asset_id,)]
    assert await kept.ask("SELECT 1 FROM file_records WHERE id = %s", gone.file_id) == []
    items = [{"finding_id": unknown, "planned": "restore", "action": "x"}]
    assert await asked.code("POST", "/integrity/plan/apply", 400, items=items) == "bad_action"


async def test_what_nobody_has_seen_is_not_approved(asked: Asked, tmp_path: Path) -> None:
    """The last copy goes between the look at the plan and the approval: giving up was not what was seen."""
    kept = asked.kept
    (gone,) = await kept.add(1)
    twin = await kept.add_twin(gone, "trip/twin.jpg")
    gone.path.unlink()
    await kept.verified()
    (seen,) = (await asked.plan()).values()
    assert seen["action"] == "restore"
    twin.unlink()
    await kept.verified()
    items = [{"finding_id": seen["finding"]["id"], "planned": seen["action"]}]
    (applied,) = (await asked.ask("POST", "/integrity/plan/apply", items=items))["items"]
    assert (applied["outcome"], applied["code"]) == ("failed", "plan_changed")
    assert await kept.ask("SELECT 1 FROM trash") == []


async def test_what_was_found_since_is_not_approved(asked: Asked) -> None:
    """Other bytes lie in the same place since the plan was looked at: what would be done about them is the same."""
    kept = asked.kept
    stray = kept.root / "inbox" / "stray.jpg"
    versions = list[str]()
    for content in (b"once", b"once more"):
        stray.write_bytes(content)
        run = await kept.rt.db.call(integrity_runs.run_of_job, (await kept.verified()).id)
        assert run is not None
        await untracked.look(kept.rt, kept.opened, run, age_s=0.0)
        (seen,) = (await asked.plan()).values()
        versions.append(seen["version"])
    item = {"finding_id": seen["finding"]["id"], "planned": "adopt", "action": "quarantine"}
    asking = partial(asked.ask, "POST", "/integrity/plan/apply")
    (applied,) = (await asking(items=[{**item, "version": versions[0]}]))["items"]
    assert (applied["outcome"], applied["code"], stray.exists()) == ("failed", "plan_changed", True)
    (applied,) = (await asking(items=[{**item, "version": versions[1]}]))["items"]
    assert (applied["outcome"], stray.exists()) == ("done", False)


async def test_what_has_moved_since_it_was_looked_for_is_not_given_up(asked: Asked) -> None:
    kept = asked.kept
    (gone,) = await kept.add(1)
    gone.path.unlink()
    await kept.verified()
    (found,) = await kept.findings()
    expected = await kept.rt.db.call(library_plan._expected, found)
    await kept.ask("UPDATE file_records SET path = 'trip/moved.jpg' WHERE id = %s", gone.file_id)
    with pytest.raises(Conflict) as refused:
        await kept.rt.jobs.call(library_plan._forget, expected, found)
    assert refused.value.code == "file_is_back"
    assert await kept.ask("SELECT outcome FROM file_records WHERE id = %s", gone.file_id) == [("asset",)]
    assert await kept.ask("SELECT 1 FROM trash") == []


async def test_giving_an_original_up_leaves_its_asset_a_further_copy(asked: Asked) -> None:
    kept = asked.kept
    (gone,) = await kept.add(1)
    await kept.add_twin(gone, "trip/twin.jpg")
    gone.path.unlink()
    await kept.verified()
    (found,) = await kept.findings()
    (applied,) = await asked.approve(str(found.id), action="accept_missing")
    assert applied["outcome"] == "done"
    records = await kept.ask("SELECT convert_from(path, 'UTF8'), outcome FROM file_records")
    assert records == [("trip/twin.jpg", "asset")]
    assert await kept.ask("SELECT 1 FROM trash") == []


async def test_adopting_makes_a_record_and_its_job(asked: Asked) -> None:
    stray = asked.kept.root / "inbox" / "stray.jpg"
    stray.write_bytes(b"bytes")
    run = await asked.kept.verified()
    found_run = await asked.kept.rt.db.call(integrity_runs.run_of_job, run.id)
    assert found_run is not None
    await untracked.look(asked.kept.rt, asked.kept.opened, found_run, age_s=0.0)
    (applied,) = await asked.approve()
    assert (applied["action"], applied["outcome"]) == ("adopt", "queued")
    ((record_id, outcome),) = await asked.kept.ask("SELECT id, outcome FROM file_records")
    assert outcome == "pending"
    assert await asked.kept.open_jobs("ingest") == [("ingest", f"file:{record_id}")]
    assert await asked.plan() == {}


async def test_a_missing_file_that_is_back_is_not_forgotten(asked: Asked) -> None:
    (original,) = await asked.kept.add(1)
    original.path.unlink()
    await asked.kept.verified()
    original.path.write_bytes(original.content)
    (applied,) = await asked.approve()
    assert (applied["outcome"], applied["code"]) == ("failed", "file_is_back")
    assert await asked.kept.ask("SELECT count(*) FROM file_records") == [(1,)]


async def test_nothing_is_forgotten_while_the_disk_is_away(asked: Asked) -> None:
    (original,) = await asked.kept.add(1)
    original.path.unlink()
    await asked.kept.verified()
    asked.kept.root.rename(asked.kept.root.with_name("away"))
    (applied,) = await asked.approve()
    assert (applied["outcome"], applied["code"]) == ("failed", "repository_offline")
    assert await asked.kept.ask("SELECT count(*) FROM file_records") == [(1,)]


async def test_mirrors(asked: Asked, tmp_path: Path) -> None:
    await asked.kept.add(2)
    place = tmp_path / "mirror"
    new = {"repository": "home", "location": str(place)}
    assert await asked.code("POST", "/mirrors", 404, **new) == "root_missing"
    place.mkdir()
    added = await asked.ask("POST", "/mirrors", 201, **new)
    assert await asked.code("POST", "/mirrors", 409, **new) == "exists"
    assert await asked.code("POST", "/mirrors", 400, **{**new, "location": str(asked.kept.root)}) == "nested_root"
    assert await asked.code("POST", "/mirrors", 400, **{**new, "location": "gopher://x"}) == "bad_location"
    assert await asked.code("POST", "/mirrors", 404, **{**new, "repository": "none"}) == "repository_not_found"
    task = await asked.done(await asked.ask("POST", f"/mirrors/{added['id']}/fill", 202))
    assert task["state"] == "completed"
    await asked.kept.settled()
    (shown,) = (await asked.ask("GET", "/mirrors"))["items"]
    assert (shown["copies"], shown["repository"], shown["declared"]) == (2, "home", False)
    assert (await asked.ask("GET", "/integrity"))["fewer_copies"] == 0
    assert (await asked.ask("DELETE", f"/mirrors/{added['id']}"))["items"] == []
    assert len(list(place.glob("originals/*/*/*"))) == 2
    assert await asked.code("DELETE", f"/mirrors/{added['id']}", 404) == "mirror_not_found"
    assert await asked.code("POST", f"/mirrors/{added['id']}/fill", 404) == "mirror_not_found"


async def test_what_opens_a_mirror_is_never_told(asked: Asked, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    options = {"endpoint": "http://127.0.0.1:9", "allow_http": "true", "access_key_id": "hunter2"}
    options |= {"secret_access_key": "s3cr3t", "max_retries": "0", "retry_timeout_s": "0"}
    made = await asked.ask("POST", "/mirrors", 201, repository="home", location="s3://bucket/x", options=options)
    found = await asked.kept.rt.db.call(lambda conn: mirrors.get(conn, UUID(made["id"])))
    assert found is not None
    assert found.options == options
    told = [json.dumps(made), json.dumps(await asked.ask("GET", "/mirrors")), repr(found), caplog.text]
    told.append(json.dumps(await asked.ask("GET", "/jobs?kind=mirror")))
    assert not any(secret in text for text in told for secret in ("hunter2", "s3cr3t"))
    for reference in ("/none", "/etc/passwd", "passwd"):
        wrong = {"repository": "home", "location": "s3://bucket/y", "options": {"access_key_id_file": reference}}
        assert await asked.code("POST", "/mirrors", 400, **wrong) == "secret_unreadable"
