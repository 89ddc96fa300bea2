"""Every query in every .sql file is planned by the server against the migrated schema."""

import re
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

import lumiliod.db
from lumiliod.db import search
from lumiliod.db.sql import Queries
from lumiliod.domain.query import FIELDS, parse

FOLDER = Path(lumiliod.db.__file__).parent
PARAMETER = re.compile(r"%\((\w+)\)s")

FRAGMENTS = {"assets": {"columns"}, "search": set(Queries(str(FOLDER / "search.py")).names())}
"""Blocks that are parts of statements; they are planned as what they are composed into."""

UTILITIES = re.compile(r"^(CREATE|DROP|COPY)\b")

QUERIES = [
    (path.stem, name)
    for path in sorted(FOLDER.glob("*.sql"))
    for name in Queries(str(path)).names()
    if name not in FRAGMENTS.get(path.stem, set())
]


def numbered(query: str) -> str:
    """Return ``query`` with ``$1`` placeholders, as EXPLAIN (GENERIC_PLAN) wants them, comments removed."""
    order: list[str] = []

    def number(match: re.Match[str]) -> str:
        if match[1] not in order:
            order.append(match[1])
        return f"${order.index(match[1]) + 1}"

    lines = [line for line in query.splitlines() if not line.lstrip().startswith("--")]
    return PARAMETER.sub(number, "\n".join(lines)).replace("%%", "%")


@pytest.fixture(scope="module")
def conn(module_conninfo: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(module_conninfo) as connection:
        yield connection


@pytest.fixture(autouse=True)
def _undone(conn: psycopg.Connection) -> Iterator[None]:
    yield
    conn.rollback()


@pytest.mark.parametrize(("noun", "name"), QUERIES)
def test_every_query_is_planned(conn: psycopg.Connection, noun: str, name: str) -> None:
    statement = numbered(Queries(str(FOLDER / noun))[name])
    if not UTILITIES.match(statement):
        conn.execute(f"EXPLAIN (GENERIC_PLAN) {statement}".encode())


def test_refusals_of_the_same_bytes_are_found_by_them(conn: psycopg.Connection) -> None:
    conn.execute(
        """INSERT INTO jobs (id, kind, queue, state, finished_at, max_attempts, args)
        SELECT gen_random_uuid(), 'ingest', 'ingest', 'discarded', now(), 5,
               jsonb_build_object('owner', gen_random_uuid(), 'upload', gen_random_uuid(), 'digest', i::text)
        FROM generate_series(1, 2000) AS i"""
    )
    conn.execute("ANALYZE jobs")
    statement = numbered(Queries(str(FOLDER / "uploads.py"))["refused_alike"])
    plan = conn.execute(f"EXPLAIN (GENERIC_PLAN) {statement}".encode()).fetchall()
    assert "using jobs_refused" in str(plan)


EXAMPLES = {
    "type": "photo",
    "status": "ready",
    "name": "a%b_c",
    "camera": '"X-T5"',
    "lens": "50mm",
    "tag": "beach",
    "in": '"Photos/2024"',
    "after": "2024-05",
    "before": "2024-05-31",
    "rating": ">=4",
    "liked": "true",
    "missing": "gps",
    "near": "47.3,8.5,10km",
}


@pytest.mark.parametrize("field", sorted(FIELDS))
def test_every_filter_runs(conn: psycopg.Connection, field: str) -> None:
    query = parse(f"{field}:{EXAMPLES[field]} {field}:{EXAMPLES[field]} some words")
    assert search.page(conn, query, after=None, count=10) == []
    assert search.count(conn, query) == 0


def test_sql_lives_in_sql_files_only() -> None:
    statement = re.compile(r"[\"'](SELECT|INSERT INTO|UPDATE|DELETE FROM|WITH)\s")
    allowed = {"embedded.py"}  # speaks to the server before there is a schema
    found = [
        path.name
        for path in FOLDER.parent.rglob("*.py")
        if statement.search(path.read_text()) and path.name not in allowed
    ]
    assert found == []
