"""Open repositories, while people move them and put them away."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
import trio

from lumiliod.db import repositories as db_repositories
from lumiliod.db.pool import Database
from lumiliod.db.repositories import RepositoryRow
from lumiliod.domain.repositories import RepositoryStatus
from lumiliod.runtime import Repositories, reopen
from lumiliod.storage import repository

WAITING = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


@pytest.mark.parametrize("how", ["relocated", "detached"])
async def test_what_a_person_did_while_it_was_tried_holds(
    database: Database, conninfo: str, tmp_path: Path, how: str
) -> None:
    """The daemon has found nothing at the old root and is about to write that down."""
    root, new = tmp_path / "old", tmp_path / "new"
    root.mkdir()
    made = repository.create(str(root), "photos")
    row = RepositoryRow(made.id, "photos", str(root), "date", RepositoryStatus.ONLINE, None, datetime.now(UTC))
    await database.call(db_repositories.insert, row)
    root.rename(new)
    repositories = Repositories()
    repositories.put(row, None)
    is_away = how == "detached"
    done = replace(row, status=RepositoryStatus.DETACHED) if is_away else replace(row, root=str(new))
    with psycopg.connect(conninfo) as person, psycopg.connect(conninfo, autocommit=True) as watching:
        if is_away:
            db_repositories.set_status(person, row.id, RepositoryStatus.DETACHED, None)
        else:
            db_repositories.set_root(person, row.id, str(new))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reopen, database, repositories, row)
            with trio.fail_after(30):
                while watching.execute(WAITING).fetchone() != (1,):
                    await trio.sleep(0.01)
            opened = None if is_away else repositories.open(repository.open_repository(str(new)))
            repositories.put(done, opened)
            person.commit()
    try:
        assert repositories.known(row.id) == done
        assert repositories.is_open(row.id) == (not is_away)
        [now] = await database.call(db_repositories.all_rows)
        assert (now.root, now.status) == (done.root, done.status)
    finally:
        repositories.close()
