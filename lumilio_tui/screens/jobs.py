"""Jobs: a window into any number of them, and what can be done with them."""

from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import ClassVar
from uuid import UUID

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widget import Widget
from textual.widgets import Static

from lumilio_tui import job_words
from lumilio_tui.asking import OneAtATime
from lumilio_tui.desk import Desk, Question, Verb
from lumilio_tui.job_filter import JobWanted, NotUnderstood, parse
from lumilio_tui.job_verbs import QUESTIONS, changed
from lumilio_tui.text import age, count, safe
from lumilio_tui.widgets.listing import Column, Listing, Row
from lumilio_tui.widgets.parts import Parts
from lumilio_tui.widgets.window import Page, Window
from lumiliod.client import Client, ClientError
from lumiliod.client import Verb as JobVerb
from lumiliod.contract.jobs import Job, JobPage, JobSelection, JobSort

PAGE = 100

SORTS: dict[str, str] = {
    "T": "created",
    "K": "kind",
    "Q": "queue",
    "S": "state",
    "P": "priority",
    "A": "attempt",
    "U": "scheduled",
    "C": "cause",
}
"""Shift-letters, and what they sort by; again is the other way round."""


class Jobs(Vertical):
    """All jobs, the newest first or as they are sorted, filtered, marked, retried, cancelled and given up."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("r", "change('retry')", "Retry"),
        Binding("x", "change('cancel')", "Cancel"),
        Binding("d", "change('discard')", "Discard"),
        Binding("a", "all", "All matching"),
        Binding("p", "pause", "Pause its queue", show=False),
        *(Binding(key, f"sort('{by}')", f"Sort by {by}", show=False) for key, by in SORTS.items()),
    ]
    filter_hint = "state:discarded kind:thumbnails queue:media cause:corrupt repository:NAME, or the words alone"

    def __init__(self, desk: Desk) -> None:
        super().__init__()
        self._desk = desk
        self._parts = Parts(_make())
        self._text = ""
        self._wanted = JobWanted()
        self._sort: JobSort = "-created"
        self._everything = False
        self._jobs: dict[str, Job] = {}
        self._window = Window[Job](self._fetch)
        self._reloading = OneAtATime(self._reload)
        self._moving = OneAtATime(self._move)
        self._where = ""

    def compose(self) -> ComposeResult:
        """Lay out what is shown, and the table."""
        yield from self._parts

    @property
    def narrowed(self) -> str:
        """Return the filter as it was typed."""
        return self._text

    @property
    def window(self) -> Window[Job]:
        """Return the rows that are loaded."""
        return self._window

    def verbs(self) -> list[Verb]:
        """Return what can be done with jobs."""
        return [
            Verb("Jobs: retry", "let what is marked, or current, begin anew", lambda: self.change("retry"), keys="r"),
            Verb("Jobs: cancel", "end what is marked, or current", lambda: self.change("cancel"), keys="x"),
            Verb("Jobs: discard", "give up what is marked, or current", lambda: self.change("discard"), keys="d"),
            Verb("Jobs: all matching", "mean all that the filter shows", self.action_all, changes=False, keys="a"),
            Verb("Jobs: pause its queue", "pause the queue of the current job, or let it go on", self.pause, keys="p"),
            Verb("Jobs: copy id", "copy the id of the current job", self.copy, changes=False, keys="y"),
            *(
                Verb(
                    f"Jobs: sort by {by}",
                    f"sort by {by}; again the other way round",
                    partial(self.action_sort, by),
                    changes=False,
                    keys=key,
                )
                for key, by in SORTS.items()
            ),
        ]

    # showing

    @work
    async def reload(self) -> None:
        """Ask anew for what is seen."""
        await self.load()

    async def load(self) -> None:
        """Ask anew, and wait for it."""
        await self._reloading.run()

    async def _reload(self) -> None:
        await self._loaded(partial(self._window.again, self._listing.cursor))

    async def _fetch(self, cursor: str | None, last: bool) -> Page[Job]:
        def question(client: Client) -> JobPage:
            return client.jobs(**self._wanted.query, sort=self._sort, limit=PAGE, cursor=cursor, last=last)

        page = await self._desk.ask(question)
        return Page(page.items, page.next_cursor, page.prev_cursor)

    async def _loaded(self, load: Callable[[], Awaitable[None]], at: int | None = None) -> None:
        window = self._window
        try:
            await load()
        except ClientError:
            await self._desk.tell(lambda client: client.jobs(**self._wanted.query, sort=self._sort, limit=1))
            return
        if window is self._window:
            self._draw(at=at)

    def on_listing_wanting(self, event: Listing.Wanting) -> None:
        """Load what lies beyond the end that is near."""
        event.stop()
        if event.where in ("first", "last"):
            self._leap(event.where)
        elif not (self._window.is_at_end if event.where == "next" else self._window.is_at_start):
            self._where = event.where
            self._go_on()

    @work
    async def _go_on(self) -> None:
        await self._moving.run()

    async def _move(self) -> None:
        window, where = self._window, self._where
        rows = len(window.items)
        try:
            by = await (window.after() if where == "next" else window.before())
        except ClientError:
            return  # it is asked for again with the next key
        if window is self._window and (by or len(window.items) != rows):
            self._draw(by)

    @work
    async def _leap(self, where: str) -> None:
        if where == "first" and self._window.is_at_start:
            self._listing.put(0)
            return
        if where == "last" and self._window.is_at_end:
            self._listing.put(len(self._listing.rows) - 1)
            return
        load = self._window.first if where == "first" else partial(self._window.last, self._total())
        await self._loaded(load, 0 if where == "first" else -1)

    def grow_old(self, is_old: bool) -> None:
        """Show in grey what is no longer known to be so."""
        self._listing.grow_old(is_old)

    def narrow(self, text: str) -> None:
        """Show only the jobs that ``text`` describes."""
        status, queues = self._desk.known.status, self._desk.known.queues
        kinds = {jobs.kind for jobs in status.jobs} | {s.kind for s in status.stages} if status else set[str]()
        try:
            wanted = parse(text, kinds=kinds, queues={queue.name for queue in queues.items} if queues else set())
        except NotUnderstood as error:
            self._desk.say(str(error), wrong=True)
            return
        self._text = text
        self.show(wanted)

    def show(self, wanted: JobWanted) -> None:
        """Show only the jobs that are ``wanted``, from the first on."""
        self._wanted, self._everything = wanted, False
        self._listing.marked.clear()
        self._begin_anew()

    def go_back(self) -> bool:
        """Unmark what is marked."""
        if not self._listing.marked and not self._everything:
            return False
        self._listing.marked.clear()
        self._everything = False
        self._draw()
        return True

    def action_sort(self, by: str) -> None:
        """Sort by something, or the other way round."""
        falling = self._sort == by or (by == "created" and self._sort != "-created")
        chosen = f"-{by}" if falling else by
        self._sort = chosen  # type: ignore[assignment]  # every name of SORTS is one of an order, with and without -
        self._begin_anew()

    @work
    async def _begin_anew(self) -> None:
        self._window = Window[Job](self._fetch)
        self._draw_shown()
        await self._loaded(self._window.first, 0)

    @property
    def _listing(self) -> Listing:
        return self._parts.listing("jobs")

    def _draw(self, shift: int = 0, at: int | None = None) -> None:
        now = self._desk.look.now()
        self._jobs = {str(job.id): job for job in self._window.items}
        rows = []
        for key, job in self._jobs.items():
            cells = (
                job.state,
                job.kind,
                job.queue,
                job.priority,
                f"{job.attempt}/{job.max_attempts}",
                age(job.created_at, now),
                job.about or "",
                job_words.why(job),
            )
            rows.append(Row(key, tuple(safe(cell, ascii_only=self._desk.look.ascii_only) for cell in cells)))
        self._listing.show(rows, shift=shift, at=at)
        self._draw_shown()

    def on_listing_moved(self) -> None:
        """Say where the current row is."""
        self._draw_shown()

    def on_listing_marked(self) -> None:
        """Say how many are marked."""
        self._draw_shown()

    def on_listing_chosen(self) -> None:
        """Show everything about the current job."""
        self._open()

    @work
    async def _open(self) -> None:
        key = self._listing.key
        if not key:
            return
        job = await self._desk.tell(lambda client: client.job(UUID(key)))
        if job is not None:
            await self._desk.show_lines(f"Job: {job.kind}", job_words.lines(job, self._desk.look.now()), str(job.id))

    def _draw_shown(self) -> None:
        above, total = self._window.above, self._total()
        place = count(above + self._listing.cursor + 1) if above is not None and self._window.items else "-"
        status = self._desk.known.status
        of = f" of {count(total)}" if total is not None else f"   {count(status.open_jobs)} open" if status else ""
        told = [
            f"row {place}{of}",
            f"sorted by {self._sort.removeprefix('-')}{' down' if self._sort[0] == '-' else ''}",
        ]
        if self._text or self._wanted.query:
            told.append("only " + " ".join(f"{name}:{value}" for name, value in self._wanted.query.items()))
        if self._everything:
            told.append("ALL MATCHING are meant")
        elif self._listing.marked:
            told.append(f"{len(self._listing.marked)} marked")
        self._parts.line("shown").update(safe("   ".join(told), ascii_only=self._desk.look.ascii_only), layout=False)

    def _total(self) -> int | None:
        """Return how many open jobs there are that are shown, where the counts tell."""
        status, query = self._desk.known.status, self._wanted.query
        if status is None or not set(query) <= {"state", "kind", "queue"}:
            return None
        if query.get("state") in ("completed", "cancelled") or (self._sort[-7:] == "created" and "state" not in query):
            return None  # finished ones are listed, too, and nobody counts them
        counts = (jobs for jobs in status.jobs if all(getattr(jobs, name) == query[name] for name in query))
        return sum(jobs.count for jobs in counts)

    # doing

    def action_all(self) -> None:
        """Mean everything that the filter shows, or no longer."""
        self._everything = not self._everything
        self._listing.marked.clear()
        self._listing.refresh()
        self._draw_shown()

    @work
    async def action_change(self, verb: JobVerb) -> None:
        """Retry, cancel or discard what is meant."""
        await self.change(verb)

    async def change(self, verb: JobVerb) -> None:
        """Retry, cancel or discard what is meant: all matching, what is marked, or the current job."""
        if self._desk.refuses():
            return
        if self._everything:
            dry = self._wanted.selection(dry_run=True)
            meant = await self._desk.tell(lambda client: client.change_jobs(verb, dry))
            if meant is None:
                return
            if not meant.count:
                self._desk.say(f"There is nothing to {verb}.")
                return
            wanted, number = self._wanted.selection(), meant.count
        else:
            ids = [UUID(key) for key in (self._listing.marked or {self._listing.key}) if key]
            wanted, number = JobSelection(ids=ids), len(ids)
        if not number:
            return
        asks = verb != "retry" or number > 1
        jobs = "1 job" if number == 1 else f"{count(number)} jobs"
        question = Question(QUESTIONS[verb].format(jobs=jobs), self._examples(), verb.capitalize()) if asks else None
        if await self._desk.act(lambda client: changed(client, verb, wanted), question=question):
            self._everything = False
            self._listing.marked.clear()
            self._listing.refresh()

    def _examples(self) -> list[str]:
        if self._everything:
            query = self._wanted.query
            return [
                "All that match " + " ".join(f"{k}:{v}" for k, v in query.items()) if query else "All jobs there are."
            ]
        keys = self._listing.marked or {self._listing.key}
        known = [self._jobs[key] for key in self._jobs if key in keys]
        return [f"{job.kind}  {job.about or job.id}" for job in known[:100]]

    @work
    async def action_pause(self) -> None:
        """Pause the current job's queue, or let it go on."""
        await self.pause()

    async def pause(self) -> None:
        """Pause the current job's queue, or let it go on."""
        job = self._jobs.get(self._listing.key)
        queues = self._desk.known.queues
        if job is None or queues is None:
            return
        paused = {queue.name for queue in queues.items if queue.paused_at is not None}
        name, is_paused = job.queue, job.queue in paused

        def does(client: Client) -> str:
            (client.resume_queue if is_paused else client.pause_queue)(name)
            return f"Queue {name} {'goes on' if is_paused else 'is paused: what runs goes on, nothing begins'}."

        await self._desk.act(does)

    def copy(self) -> None:
        """Copy the id of the current job."""
        if self._listing.key:
            self._desk.copy(self._listing.key)


def _make() -> Iterator[Widget]:
    yield Static(id="shown", markup=False)
    yield Listing(
        (
            Column("State", 10),
            Column("Kind", 10),
            Column("Queue", 10, drop=3),
            Column("Pri", 3, right=True, drop=5),
            Column("Try", 4, right=True, drop=4),
            Column("Age", 8, right=True, drop=2),
            Column("About", 20, 4),
            Column("Why", 16, 5, drop=1),
        ),
        named="jobs",
        classes="part",
        empty="No jobs.",
        marks=True,
        windowed=True,
    )
