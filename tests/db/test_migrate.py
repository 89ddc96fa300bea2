"""Migrations: once, in order, by many at the same time, never edited."""

import threading
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from lumiliod.db import embedded, migrate
from lumiliod.db.migrate import Migration
from lumiliod.domain.errors import ConfigError, Unavailable


@pytest.fixture
def empty(postgres: embedded.Server) -> str:
    name = f"empty_{uuid4().hex[:8]}"
    with psycopg.connect(postgres.admin_conninfo, autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    return f"host={postgres.sockets} dbname={name} user=lumilio"


STEPS = [
    Migration(1, "one", "CREATE TABLE one (n int); INSERT INTO one VALUES (1)"),
    Migration(2, "two", "UPDATE one SET n = n + 1"),
]


def test_applies_once_and_in_order(empty: str) -> None:
    with psycopg.connect(empty, autocommit=True) as conn:
        assert migrate.migrate(conn, STEPS) == STEPS
        assert migrate.migrate(conn, STEPS) == []
        assert conn.execute("SELECT n FROM one").fetchone() == (2,)


def test_a_check_applies_nothing(empty: str) -> None:
    with psycopg.connect(empty, autocommit=True) as conn:
        for applied in ([], STEPS[:1]):
            migrate.migrate(conn, applied)
            with pytest.raises(Unavailable, match="0002"):
                migrate.check(conn, STEPS)
        migrate.migrate(conn, STEPS)
        migrate.check(conn, STEPS)
        with pytest.raises(ConfigError):
            migrate.check(conn, STEPS[:1])


def test_many_at_the_same_time(empty: str) -> None:
    applied: list[Migration] = []

    def work() -> None:
        with psycopg.connect(empty, autocommit=True) as conn:
            applied.extend(migrate.migrate(conn, STEPS))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert applied == STEPS


def test_a_failing_step_leaves_nothing(empty: str) -> None:
    broken = [STEPS[0], Migration(2, "bad", "UPDATE one SET n = 99; SELECT no_such_thing")]
    with psycopg.connect(empty, autocommit=True) as conn:
        with pytest.raises(psycopg.Error):
            migrate.migrate(conn, broken)
        assert conn.execute("SELECT n FROM one").fetchone() == (1,)
        assert migrate.migrate(conn, STEPS) == STEPS[1:]


def test_an_edited_step_is_refused(empty: str) -> None:
    with psycopg.connect(empty, autocommit=True) as conn:
        migrate.migrate(conn, STEPS)
        with pytest.raises(ConfigError) as caught:
            migrate.migrate(conn, [replace(STEPS[0], text="-- nothing"), STEPS[1]])
        assert caught.value.code == "migration_edited"


def test_a_newer_database_is_refused(empty: str) -> None:
    with psycopg.connect(empty, autocommit=True) as conn:
        migrate.migrate(conn, STEPS)
        with pytest.raises(ConfigError) as caught:
            migrate.migrate(conn, STEPS[:1])
        assert caught.value.code == "database_newer"


def test_gaps_and_bad_names_are_refused(tmp_path: Path) -> None:
    (tmp_path / "0001_one.sql").write_text("SELECT 1")
    (tmp_path / "0003_three.sql").write_text("SELECT 1")
    with pytest.raises(ConfigError):
        migrate.load(tmp_path)
    (tmp_path / "0003_three.sql").rename(tmp_path / "two.sql")
    with pytest.raises(ConfigError):
        migrate.load(tmp_path)


def test_files_whose_films_and_regions_were_not_read_are_read_again(empty: str) -> None:
    ours = migrate.load(migrate.folder())
    number = next(one.number for one in ours if one.name == "motion_and_regions")
    told = {
        "film": '{"XMP-GCamera:MotionPhoto": 1}',
        "faces": '{"XMP-mwg-rs:RegionName": ["Ada"]}',
        "none": '{"IFD0:Make": "Canon"}',
    }
    with psycopg.connect(empty, autocommit=True) as conn:
        migrate.migrate(conn, ours[: number - 1])
        owner = uuid4()
        conn.execute("INSERT INTO users (id, name, role) VALUES (%s, 'ada', 'admin')", (owner,))
        for name, tags in told.items():
            conn.execute(
                "INSERT INTO assets (id, owner_id, type, digest, size_bytes, mime_type, original_filename, taken_at,"
                " taken_at_local, tz_source, taken_source, tags, metadata_at) VALUES (gen_random_uuid(), %s, 'photo',"
                " sha256(%s), 1, 'image/jpeg', %s, now(), now(), 'utc', 'file', %s, now())",
                (owner, name.encode(), name, tags),
            )
        migrate.migrate(conn, ours)
        again = conn.execute("SELECT original_filename FROM assets WHERE metadata_at IS NULL ORDER BY 1").fetchall()
    assert again == [("faces",), ("film",)]


def test_our_own_are_well_formed() -> None:
    assert migrate.load(migrate.folder())
