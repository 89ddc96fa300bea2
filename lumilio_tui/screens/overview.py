"""How everything is: services, the pipeline, queues, storage, and the daemon itself."""

import asyncio
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widget import Widget
from textual.widgets import Static

from lumilio_tui import queue_words
from lumilio_tui.asking import OneAtATime
from lumilio_tui.desk import Desk, Verb
from lumilio_tui.text import age, count, safe, size, span, sparkline
from lumilio_tui.widgets.listing import Listing
from lumilio_tui.widgets.parts import Parts
from lumilio_tui.widgets.rows import Column, Row
from lumiliod.client import Client
from lumiliod.contract.queues import Queue, QueueChange
from lumiliod.contract.status import Status

WAITING = ("available", "scheduled", "retryable")
MOMENTS = 60
"""So many measurements of a stage are kept and drawn."""
RATE_S = 30.0
"""Throughput is that of so many seconds."""
STORAGE_S = 30.0
"""How often storage is added up."""


@dataclass
class Stage:
    """What one kind of job did: how many were completed when, seconds of the monotonic clock."""

    seen: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=MOMENTS + 1))

    def note(self, at: float, completed: int) -> None:
        """Note how many are completed; a daemon that began anew counts from none."""
        if self.seen and completed < self.seen[-1][1]:
            self.seen.clear()
        self.seen.append((at, completed))

    @property
    def rates(self) -> list[float]:
        """Return jobs per second between every two moments."""
        return [(new - old) / max(1e-3, at - before) for (before, old), (at, new) in pairwise(self.seen)]

    @property
    def rate(self) -> float:
        """Return jobs per second of late."""
        if len(self.seen) < 2:
            return 0.0
        now, done = self.seen[-1]
        since, before = next(one for one in self.seen if one[0] >= now - RATE_S)
        if since == now:
            since, before = self.seen[-2]
        return (done - before) / max(1e-3, now - since)


class Overview(Vertical):
    """The whole at a glance; ``p`` pauses the current queue."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("p", "pause", "Pause queue"),
        Binding("plus,equals_sign", "width(1)", "More at once", show=False),
        Binding("minus", "width(-1)", "Fewer at once", show=False),
    ]
    filter_hint = ""
    narrowed = ""

    def __init__(self, desk: Desk) -> None:
        super().__init__()
        self._desk = desk
        self._parts = Parts(_make())
        self._known = desk.known
        self._stages: dict[str, Stage] = {}
        self._noted_at = 0.0
        self._storage = ""
        self._storage_at = -STORAGE_S
        self._asking = OneAtATime(self._ask)
        self._widening = asyncio.Lock()

    def compose(self) -> ComposeResult:
        """Lay out the daemon's own line, then queues, stages and services."""
        yield from self._parts

    def on_mount(self) -> None:
        """Name the parts."""
        for name in ("queues", "stages", "services"):
            self._listing(name).border_title = {"stages": "Pipeline"}.get(name, name.capitalize())
        self._known.tell(self._draw_if_seen)

    def verbs(self) -> list[Verb]:
        """Return what can be done with queues."""
        queue = self._current()
        named = f" {queue.name}" if queue else ""
        return [
            Verb("Queue: pause or go on", f"pause the current queue{named}, or let it go on", self.pause, keys="p"),
            Verb("Queue: more at once", f"one job more of{named} at once", lambda: self.widen(1), keys="+"),
            Verb("Queue: fewer at once", f"one job fewer of{named} at once", lambda: self.widen(-1), keys="-"),
        ]

    @work
    async def reload(self) -> None:
        """Show what is known, and add up storage now and then."""
        await self.load()

    async def load(self) -> None:
        """Ask anew, and wait for it."""
        await self._asking.run()

    async def _ask(self) -> None:
        self._draw()
        if self._known.health is None or time.monotonic() < self._storage_at + STORAGE_S:
            return
        self._storage_at = time.monotonic()
        told = await self._desk.tell(_storage)
        self._storage = told or self._storage
        self._draw()

    def grow_old(self, is_old: bool) -> None:
        """Show in grey what is no longer known to be so."""
        for name in ("queues", "stages", "services"):
            self._listing(name).grow_old(is_old)
        self.set_class(is_old, "-old")

    def narrow(self, text: str) -> None:
        """Do nothing: there is little here."""

    def go_back(self) -> bool:
        """Tell that there is nowhere to go."""
        return False

    async def pause(self) -> None:
        """Pause the current queue, or let it go on."""
        if (queue := self._current()) is None:
            return
        does = queue_words.pause if queue.paused_at is None else queue_words.resume
        await self._desk.act(partial(does, name=queue.name))

    async def widen(self, by: int) -> None:
        """Let more, or fewer, jobs of the current queue run at once."""
        if (queue := self._current()) is None:
            return
        name = queue.name
        async with self._widening:  # a key pressed twice is one more and another one
            await self._desk.act(lambda client: _widened(client, name, by))

    @work
    async def action_pause(self) -> None:
        """Pause the current queue, or let it go on."""
        await self.pause()

    @work
    async def action_width(self, by: int) -> None:
        """Let more, or fewer, jobs run at once."""
        await self.widen(by)

    # drawing

    def _listing(self, name: str) -> Listing:
        return self._parts.listing(name)

    def _current(self) -> Queue | None:
        key = self._listing("queues").key
        queues = self._known.queues.items if self._known.queues is not None else []
        return next((queue for queue in queues if queue.name == key), None)

    def _safe(self, value: object) -> str:
        return safe(value, ascii_only=self._desk.look.ascii_only)

    def _draw_if_seen(self) -> None:
        if self._known.status is not None:
            self._note(self._known.status)
        if self.display:
            self.reload()

    def _draw(self) -> None:
        health, status, queues = self._known.health, self._known.status, self._known.queues
        now = self._desk.look.now()
        if health is not None:
            self._listing("services").show(
                [
                    Row(
                        service.name,
                        (
                            self._safe(service.name),
                            self._safe(service.state),
                            age(service.since, now),
                            str(service.restarts),
                            self._safe(service.reason or ""),
                        ),
                    )
                    for service in health.services
                ]
            )
        if queues is not None:
            self._listing("queues").show([self._queue_row(queue) for queue in queues.items])
        if status is not None:
            self._note(status)
            self._listing("stages").show(list(self._stage_rows(status)))
        self._parts.line("vitals").update(self._vitals())

    def _vitals(self) -> str:
        health, status = self._known.health, self._known.status
        if health is None:
            return "Asking lumiliod ..."
        told = [
            f"lumiliod {self._safe(health.version)}: {self._safe(health.status)}",
            f"up {span(health.uptime_s)}",
            f"loop lag {health.loop_lag_ms:.1f} ms",
            f"memory {size(health.memory_bytes)}" if health.memory_bytes else "",
        ]
        lines = ["   ".join(part for part in told if part)]
        if status is not None:
            types = ", ".join(f"{count(number)} {name}" for name, number in sorted(status.assets.items()) if number)
            lines.append(
                f"{types or 'no assets yet'}   {count(status.open_jobs)} open jobs, "
                f"{count(status.discarded_jobs)} failed" + self._attention(status)
            )
        if self._storage:
            lines.append(self._storage)
        return "\n".join(lines)

    def _attention(self, status: Status) -> str:
        told = [
            f"{count(status.open_findings)} findings" if status.open_findings else "",
            f"deletions held: {', '.join(map(self._safe, status.held_repositories))}"
            if status.held_repositories
            else "",
            f"{status.away_mirrors} mirrors away" if status.away_mirrors else "",
            f"{len(status.scans)} scans" if status.scans else "",
        ]
        return "".join(f", {part}" for part in told if part)

    def _queue_row(self, queue: Queue) -> Row:
        running = queue.counts.get("running", 0)
        state = queue.reason or ("working" if running else "idle")
        cells = (
            self._safe(queue.name),
            self._safe(state),
            count(running),
            str(queue.concurrency),
            count(sum(queue.counts.get(state, 0) for state in WAITING)),
            count(queue.counts.get("discarded", 0)),
        )
        return Row(queue.name, cells)

    def _note(self, status: Status) -> None:
        if self._known.status_at == self._noted_at:
            return
        self._noted_at = self._known.status_at
        for stage in status.stages:
            self._stages.setdefault(stage.kind, Stage()).note(self._noted_at, stage.completed)

    def _stage_rows(self, status: Status) -> Iterable[Row]:
        done = {stage.kind: stage.completed for stage in status.stages}
        waiting: dict[str, int] = {}
        failed: dict[str, int] = {}
        for jobs in status.jobs:
            if jobs.state == "discarded":
                failed[jobs.kind] = failed.get(jobs.kind, 0) + jobs.count
            else:
                waiting[jobs.kind] = waiting.get(jobs.kind, 0) + jobs.count
        for kind in sorted({*done, *waiting, *failed}):
            stage = self._stages.get(kind, Stage())
            left, rate = waiting.get(kind, 0), stage.rate
            yield Row(
                kind,
                (
                    self._safe(kind),
                    count(left),
                    count(failed.get(kind, 0)),
                    count(done.get(kind, 0)),
                    f"{rate:.1f}" if rate else "-",
                    span(left / rate) if left and rate else "-",
                    sparkline(stage.rates, MOMENTS, ascii_only=self._desk.look.ascii_only) if stage.rates else "",
                ),
            )


def _storage(client: Client) -> str:
    repositories = client.repositories()
    made = client.derivatives.status()
    originals = sum(one.size_bytes for one in repositories)
    return (
        f"storage: originals {size(originals)} in {len(repositories)} repositories, "
        f"derivatives {size(sum(kind.size_bytes for kind in made.items) + made.film_pieces.size_bytes)}"
    )


def _widened(client: Client, name: str, by: int) -> str:
    wanted = by + next((queue.concurrency for queue in client.queues().items if queue.name == name), 0)
    client.change_queue(name, QueueChange(concurrency=wanted))
    return f"{wanted} jobs of {name} run at once."


def _make() -> Iterator[Widget]:
    yield Static("Asking lumiliod ...", id="vitals", markup=False)
    yield Listing(
        (
            Column("Queue", 12, 1),
            Column("State", 12, 1),
            Column("Running", 7, right=True),
            Column("At once", 7, right=True, drop=1),
            Column("Waiting", 9, right=True),
            Column("Failed", 9, right=True),
        ),
        named="queues",
        classes="part",
    )
    yield Listing(
        (
            Column("Stage", 12, 1),
            Column("Waiting", 9, right=True),
            Column("Failed", 7, right=True, drop=3),
            Column("Done", 9, right=True, drop=2),
            Column("Per s", 7, right=True),
            Column("Left", 9, right=True),
            Column("Lately", 12, 2, drop=1, tail=True),
        ),
        named="stages",
        classes="part",
        empty="Nothing was done yet.",
    )
    yield Listing(
        (
            Column("Service", 14, 1),
            Column("State", 9),
            Column("Since", 10, right=True, drop=2),
            Column("Restarts", 8, right=True, drop=1),
            Column("Reason", 14, 3),
        ),
        named="services",
        classes="part",
    )
