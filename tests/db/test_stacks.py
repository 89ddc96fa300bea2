"""Companions are asked for by names and ids: what else lies in a folder is not read."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from lumiliod.db import stacks, users
from lumiliod.db.sql import Queries
from lumiliod.domain.ids import AssetId
from lumiliod.domain.stacks import stacks as stacked

FILES = 20_000


@pytest.fixture(scope="module")
def conn(module_conninfo: str) -> Iterator[psycopg.Connection]:
    """A folder with many files, every tenth name a pair, all frames of one film's name, some of a burst."""
    with psycopg.connect(module_conninfo) as connection:
        owner = users.ensure_admin(connection)
        repository = uuid4()
        connection.execute(
            """INSERT INTO repositories (id, name, root, storage_strategy, created_at)
            VALUES (%s, 'big', '/big', 'date', now())""",
            (repository,),
        )
        connection.execute(
            """INSERT INTO assets (id, owner_id, type, digest, size_bytes, mime_type, original_filename, taken_at,
                                   taken_at_local, tz_source, taken_source, burst_id)
            SELECT lpad(to_hex(i), 32, '0')::uuid, %s, 'photo', sha256(int8send(i)), 1,
                   CASE WHEN i %% 10 = 1 THEN 'image/x-canon-cr2' ELSE 'image/jpeg' END, 'x',
                   to_timestamp(i / 2 * 2), to_timestamp(i / 2 * 2) AT TIME ZONE 'UTC', 'unknown', 'capture',
                   CASE WHEN i BETWEEN 2 AND 9 THEN 'BURST' END
            FROM generate_series(0, %s) AS i""",
            (owner, FILES - 1),
        )
        connection.execute(
            """INSERT INTO file_records (id, repository_id, path, size_bytes, mtime_ns, inode, digest, outcome,
                                         asset_id)
            SELECT gen_random_uuid(), %s,
                   convert_to('Trip/shot.' || CASE i %% 10 WHEN 1 THEN (i - 1) || '.CR2' ELSE i || '.JPG' END, 'UTF8'),
                   1, 1, i, sha256(int8send(i)), 'asset', lpad(to_hex(i), 32, '0')::uuid
            FROM generate_series(0, %s) AS i""",
            (repository, FILES - 1),
        )
        connection.commit()
        connection.execute("ANALYZE")
        yield connection


def asset(number: int) -> AssetId:
    return AssetId(UUID(int=number))


def test_a_stack_is_found_in_a_large_folder(conn: psycopg.Connection) -> None:
    owner = users.ensure_admin(conn)
    assert {member.id for member in stacks.near(conn, owner, [asset(100)])} == {asset(100), asset(101)}
    [stack] = stacked(stacks.near(conn, owner, [asset(101)]))
    assert (stack.cover, stack.why) == (asset(100), "same name shot.100.CR2 and shot.100.JPG in one folder")
    assert len(stacks.near(conn, owner, [asset(5)])) == 8
    assert stacks.near(conn, owner, [AssetId(uuid4())]) == []


@pytest.mark.parametrize("analyzed", [True, False])
def test_nothing_is_read_but_what_is_asked_for(conn: psycopg.Connection, analyzed: bool) -> None:
    if not analyzed:
        conn.execute("UPDATE pg_class SET reltuples = -1, relpages = 0 WHERE relname IN ('assets', 'file_records')")
    asked: list[dict[str, Any]] = []
    owner = users.ensure_admin(conn)

    query = "EXPLAIN (ANALYZE, FORMAT JSON) " + Queries(str(Path(stacks.__file__)))["members"]
    params = stacks.parameters(owner, [asset(n) for n in range(100, 150)], stacks.Keys())
    keys = stacks.Keys()
    for member in stacks.near(conn, owner, [asset(n) for n in range(100, 150)]):
        keys.add(member)
    keys.burst_ids.add("BURST")
    for told in (params, stacks.parameters(owner, [], keys)):
        [[[plan]]] = conn.execute(query.encode(), told).fetchall()
        asked.append(plan["Plan"])
    for plan in asked:
        read = [node for node in nodes(plan) if node.get("Relation Name") in ("assets", "file_records")]
        assert read
        for node in read:
            assert node["Node Type"] != "Seq Scan", node
            assert node["Actual Rows"] + node.get("Rows Removed by Filter", 0) < 20, str(node)
    text = str(asked[1])
    assert "assets_by_burst_id" in text
    assert re.search(r"Index Cond[^}]*path = ", text), "names are tried in the index, not filtered"
    conn.rollback()


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)


def test_a_file_with_very_many_copies_counts_where_it_is_served_from(conn: psycopg.Connection) -> None:
    owner = users.ensure_admin(conn)
    conn.execute(
        """INSERT INTO file_records (id, repository_id, path, size_bytes, mtime_ns, inode, digest, outcome, asset_id)
        SELECT gen_random_uuid(), repository_id, convert_to('copy' || i || '/a.jpg', 'UTF8'), 1, 1, 1, digest,
               'duplicate', asset_id
        FROM file_records, generate_series(1, 40) AS i WHERE asset_id = %s AND outcome = 'asset'""",
        (asset(100),),
    )
    [alone] = [member for member in stacks.near(conn, owner, [asset(100)]) if member.id == asset(100)]
    assert [place.name for place in alone.places] == ["shot.100.JPG"]
    conn.execute("DELETE FROM file_records WHERE path LIKE 'copy1%%' OR path LIKE 'copy2%%'")
    [copied] = [member for member in stacks.near(conn, owner, [asset(100)]) if member.id == asset(100)]
    assert len(copied.places) == 19
    conn.rollback()
