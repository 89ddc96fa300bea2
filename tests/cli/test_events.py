"""``lumilio events``: what is wrong on the line, and how events are said."""

import datetime as dt
from typing import Any
from uuid import UUID

import msgspec
import pytest
from click.testing import CliRunner

from lumiliod.cli.events import lines
from lumiliod.cli.main import program
from lumiliod.cli.output import print_line
from lumiliod.client import Happening
from lumiliod.contract.feed import AssetChange, AssetsEvent, DroppedEvent, HealthEvent, JobsEvent, ResetEvent, SyncEvent
from lumiliod.contract.jobs import Progress
from lumiliod.contract.live import LiveQueue, Trouble
from lumiliod.contract.status import ServiceHealth
from lumiliod.contract.sync import SyncOperation

ONE = UUID(int=1)
WHEN = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
RUN = SyncOperation(
    id=ONE, repository="home", repository_id=ONE, type="manual", scope="full", folder="", status="completed", found=9,
    added=4, changed=3, moved=2, missing=1, ignored=0, duration_s=1.0, error=None, note=None, task_id=None,
    started_at=WHEN, finished_at=WHEN,
)  # fmt: skip


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("events", 69),
        ("events --topics jobs,sync --after 7 --json", 69),
        ("events --topics albums", 64),
        ("events --after -1", 64),
        ("events jobs", 64),
    ],
)
def test_exit_codes(line: str, code: int) -> None:
    result = CliRunner(env={"LUMILIO_SOCKET": "/nonexistent/s"}).invoke(program, line.split())
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output


def test_json_is_a_line_that_controls_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    run = msgspec.structs.replace(RUN, folder="\x9b2J\u202e\x7f\n")
    print_line({"event": "sync", "data": SyncEvent(phase="begun", operation=run, progress=None)})
    text = capsys.readouterr().out.removesuffix("\n")
    assert text.isprintable()
    assert msgspec.json.decode(text)["data"]["operation"]["folder"] == run.folder


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (ResetEvent(reason="new"), []),
        (ResetEvent(reason="gap"), ["some of what happened meanwhile is not told"]),
        (DroppedEvent(code="reader_too_slow", message="too slow"), ["too slow"]),
        (Trouble(code="unreachable", message="away"), ["away"]),
        (JobsEvent(queues=[], counts=[], completed={}, discarded={}), ["nothing to do"]),
        (
            JobsEvent(
                queues=[
                    LiveQueue(name="media", allowed=0, reason="paused", counts={"running": 2, "available": 5}),
                    LiveQueue(name="ml", allowed=1, reason=None, counts={}),
                ],
                counts=[],
                completed={"thumbnails": 3},
                discarded={"ingest": 1},
            ),
            ["media (paused): 2 running, 5 waiting; 3 thumbnails done; 1 ingest given up"],
        ),
        (
            AssetsEvent(
                assets=[AssetChange(id=ONE, by="ingest"), AssetChange(id=UUID(int=2), by="ingest")], is_whole=True
            ),
            ["ingest of 2"],
        ),
        (AssetsEvent(assets=[], is_whole=False), ["of many"]),
        (
            HealthEvent(
                status="degraded",
                services=[
                    ServiceHealth(name="api", state="ready", reason=None, since=WHEN, restarts=0),
                    ServiceHealth(name="watch", state="degraded", reason="no room", since=WHEN, restarts=1),
                ],
                gone=["configuration"],
            ),
            ["api is ready", "watch is degraded: no room", "configuration is told of no longer"],
        ),
        (
            SyncEvent(phase="progress", operation=RUN, progress=Progress(done=5, total=None, unit="files", text="")),
            ["home: scan of everything (a person asked) 5 files"],
        ),
        (
            SyncEvent(phase="ended", operation=RUN, progress=None),
            ["home: scan of everything (a person asked) done: 9 found, 4 new, 3 changed, 2 moved, 1 missing"],
        ),
    ],
)
def test_what_people_read(data: Any, said: list[str]) -> None:
    assert list(lines(Happening("x", 1, data))) == said
