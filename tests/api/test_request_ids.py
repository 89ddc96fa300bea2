"""Every request has an id, which its answer and the log say."""

import logging
from collections.abc import Iterator, Mapping

import pytest

from lumiliod.db.pool import Database
from lumiliod.domain.jobs import ClaimedJob
from lumiliod.domain.logged import FIELDS
from lumiliod.jobs.engine import Running
from lumiliod.jobs.kind import Kind, each

from .working import WORK, Working, working

OWN = "from-a_proxy.1:2"


class Fields(logging.Handler):
    """Keeps what each record would say besides its own."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, Mapping[str, str]]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.seen.append((record.getMessage(), FIELDS.get()))


@pytest.fixture
def fields() -> Iterator[Fields]:
    handler = Fields()
    logging.getLogger().addHandler(handler)
    yield handler
    logging.getLogger().removeHandler(handler)


async def id_of(library: Working, target: str, *given: str) -> str:
    reply = await library.server.ask("GET", target, [("X-Request-ID", one) for one in given])
    return reply.headers["x-request-id"]


@pytest.mark.parametrize("target", ["/api/v1/health/live", "/api/v1/nothing", "/metrics", "/api/v1/assets/x/original"])
async def test_an_id_that_is_given_is_kept(database: Database, socket_path: str, target: str) -> None:
    async with working(database, socket_path, []) as library:
        assert await id_of(library, target, OWN) == OWN


@pytest.mark.parametrize("given", [[], ["a b"], [""], ["-a"], ["x" * 129], ["a\tb"], ['"a"'], ["<a>"]])
async def test_others_get_one_of_their_own(database: Database, socket_path: str, given: list[str]) -> None:
    async with working(database, socket_path, []) as library:
        one, two = [await id_of(library, "/api/v1/health/live", *given) for _ in range(2)]
        assert len(one) == len(two) == 32
        assert one != two


async def test_the_log_says_for_whom(database: Database, socket_path: str, fields: Fields) -> None:
    async with working(database, socket_path, []) as library:
        await library.server.ask("GET", "/api/v1/health/live", [("X-Request-ID", "another")])
        reply = await library.server.ask("GET", "/api/v1/doctor", [("X-Request-ID", OWN)])
        assert (reply.status, reply.json["code"]) == (500, "internal")
    [told] = [one for message, one in fields.seen if message == "a request failed"]
    assert told == {"request": OWN}


async def test_a_job_says_which_it_is(database: Database, socket_path: str) -> None:
    seen: list[tuple[ClaimedJob, Mapping[str, str]]] = []

    async def do(running: Running) -> None:
        seen.append((running.job, FIELDS.get()))

    async with working(database, socket_path, [Kind("work", "work", each(do))]) as library:
        [job] = await library.enqueue(WORK.new({}))
        async with library.events(f"/jobs/{job}/live") as watching:
            await watching.until(lambda name, _: name == "end")
    [(claimed, fields)] = seen
    assert claimed.id == job
    assert fields == {"kind": "work", "job": str(job)}
    assert FIELDS.get() == {}
