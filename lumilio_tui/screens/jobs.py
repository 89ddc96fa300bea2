"""Jobs: a window into any number of them, and what can be done with them."""

from collections.abc import Iterator
from functools import partial
from typing import ClassVar
from uuid import UUID

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widget import Widget
from textual.widgets import Static

from lumilio_tui import job_words, queue_words
from lumilio_tui.asking import OneAtATime
from lumilio_tui.desk import Desk, Verb
from lumilio_tui.job_filter import JobWanted, NotUnderstood, parse
from lumilio_tui.job_verbs import Matching, about, changed
from lumilio_tui.text import age, count, safe
from lumilio_tui.widgets.listing import Listing
from lumilio_tui.widgets.pager import Pager
from lumilio_tui.widgets.parts import Parts
from lumilio_tui.widgets.rows import Column, Row
from lumilio_tui.widgets.window import Page, Window
from lumiliod.client import Client
from lumiliod.client import Verb as JobVerb
from lumiliod.contract.jobs import Job, JobPage, JobSelection, JobSort

PAGE = 100
AGE = 5
"""Which cell of a row is how old its job is."""

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
        self._rows: dict[str, tuple[Job, Row]] = {}
        self._pager = Pager[Job](self._listing, self._fetch, self._draw, desk.note, self._total)
        self._reloading = OneAtATime(self._pager.again)

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
        return self._pager.window

    def verbs(self) -> list[Verb]:
        """Return what can be done with jobs."""
        return [
            Verb("Jobs: retry", "let what is marked, or current, begin anew", lambda: self.change("retry"), keys="r"),
            Verb("Jobs: cancel", "end what is marked, or current", lambda: self.change("cancel"), asks=True, keys="x"),
            Verb(
                "Jobs: discard",
                "give up what is marked, or current",
                lambda: self.change("discard"),
                asks=True,
                keys="d",
            ),
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

    async def _fetch(self, cursor: str | None, last: bool) -> Page[Job]:
        def question(client: Client) -> JobPage:
            return client.jobs(**self._wanted.query, sort=self._sort, limit=PAGE, cursor=cursor, last=last)

        page = await self._desk.ask(question)
        return Page(page.items, page.next_cursor, page.prev_cursor)

    def on_listing_wanting(self, event: Listing.Wanting) -> None:
        """Load what lies beyond the end that is near."""
        event.stop()
        self._go(event.where)

    @work
    async def _go(self, where: str) -> None:
        await self._pager.go(where)

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
        self._pager.clear()
        self._draw_shown()
        await self._pager.begin()

    @property
    def _listing(self) -> Listing:
        return self._parts.listing("jobs")

    def _draw(self, shift: int = 0, at: int | None = None) -> None:
        now, known = self._desk.look.now(), self._rows
        self._jobs = {str(job.id): job for job in self.window.items}
        self._rows = {}
        for key, job in self._jobs.items():
            old = age(job.created_at, now)
            row = known.get(key)
            if row is None or row[0] is not job or row[1].cells[AGE] != old:
                row = job, self._row(key, job, old)
            self._rows[key] = row
        rows = [row for _, row in self._rows.values()]
        self._listing.show(rows, shift=shift, at=at)
        self._draw_shown()

    def _row(self, key: str, job: Job, old: str) -> Row:
        cells = (
            job.state,
            job.kind,
            job.queue,
            job.priority,
            f"{job.attempt}/{job.max_attempts}",
            old,
            job.about or "",
            job_words.why(job),
        )
        return Row(key, tuple(safe(cell, ascii_only=self._desk.look.ascii_only) for cell in cells))

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
        above, total = self.window.above, self._total()
        place = count(above + self._listing.cursor + 1) if above is not None and self.window.items else "-"
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
        if self._everything:
            matching = Matching(self._desk, verb, self._wanted)
            done = await self._desk.act(matching.change, question=matching.question)
        else:
            keys = [key for key in (self._listing.marked or {self._listing.key}) if key]
            if not keys:
                return
            wanted = JobSelection(ids=[UUID(key) for key in keys])
            told = [f"{job.kind}  {job.about or job.id}" for key, job in self._jobs.items() if key in keys]
            question = about(verb, len(keys), told) if verb != "retry" or len(keys) > 1 else None
            done = await self._desk.act(partial(changed, verb=verb, wanted=wanted), question=question)
        if done:
            self._everything = False
            self._listing.marked.clear()
            self._listing.refresh()
            self._draw_shown()

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
        does = queue_words.resume if job.queue in paused else queue_words.pause
        await self._desk.act(partial(does, name=job.queue))

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
