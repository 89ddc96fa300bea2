"""Failures: why jobs failed, grouped; each file with its reason; and uploads that were refused."""

from collections.abc import Callable, Iterator, Sequence
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
from lumilio_tui.job_verbs import about, changed
from lumilio_tui.text import age, clock, count, safe, size
from lumilio_tui.widgets.listing import Listing
from lumilio_tui.widgets.pager import Pager
from lumilio_tui.widgets.parts import Parts
from lumilio_tui.widgets.rows import Column, Row
from lumilio_tui.widgets.window import Page
from lumiliod.client import Client
from lumiliod.client import Verb as JobVerb
from lumiliod.contract.jobs import Cause, Job, JobPage, JobSelection
from lumiliod.contract.uploads import RefusedUpload

PAGE = 100
REFUSED = "refused uploads"

MEANINGS = {"poison": "quarantined: it ended the process that worked on it, twice"}
"""What codes mean that the message does not say."""


class Failures(Vertical):
    """Causes above, the files of the current one below; ``r`` retries all of a cause, or one file."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("r", "change('retry')", "Retry"),
        Binding("x", "change('cancel')", "Forget"),
        Binding("d", "change('discard')", "Discard", show=False),
    ]
    filter_hint = "part of a kind, a cause or a message"

    def __init__(self, desk: Desk) -> None:
        super().__init__()
        self._desk = desk
        self._parts = Parts(_make())
        self._text = ""
        self._causes: dict[str, Cause] = {}
        self._refused: dict[str, RefusedUpload] = {}
        self._jobs: dict[str, Job] = {}
        self._pager: Pager[Job] | None = None
        self._shown_cause = ""
        self._reloading = OneAtATime(self._reload)
        self._following = OneAtATime(self._follow)

    def compose(self) -> ComposeResult:
        """Lay out the causes, and the files of one."""
        yield from self._parts

    @property
    def narrowed(self) -> str:
        """Return what causes must contain."""
        return self._text

    def verbs(self) -> list[Verb]:
        """Return what can be done about failures."""
        return [
            Verb(
                "Failures: retry",
                "all of the current cause; below: what is marked, or current",
                lambda: self.change("retry"),
                asks=True,
                keys="r",
            ),
            Verb(
                "Failures: forget",
                "end the jobs; of refused uploads remove what is kept of them",
                lambda: self.change("cancel"),
                asks=True,
                keys="x",
            ),
            Verb(
                "Failures: discard",
                "try no more; they stay here until you decide",
                lambda: self.change("discard"),
                asks=True,
                keys="d",
            ),
            Verb("Failures: copy path", "copy the path of the current file", self.copy, changes=False, keys="y"),
        ]

    # showing

    @work
    async def reload(self) -> None:
        """Ask anew why jobs failed, and for the files of the current cause."""
        await self.load()

    async def load(self) -> None:
        """Ask anew, and wait for it."""
        await self._reloading.run()

    async def _reload(self) -> None:
        causes = await self._desk.tell(lambda client: client.causes())
        uploads = await self._desk.tell(lambda client: client.uploads.under_way())
        if causes is None or uploads is None:
            return
        self._causes = {f"{cause.kind}/{cause.cause}": cause for cause in causes}
        self._refused = {str(upload.id): upload for upload in uploads.refused}
        self._draw_causes()
        await self._following.run()

    def on_listing_moved(self, event: Listing.Moved) -> None:
        """Show the files of the cause that is current now."""
        if event.listing.id == "causes" and event.listing.key != self._shown_cause:
            self._turn()
            self._look()

    def _turn(self) -> None:
        """Turn to the current cause; until its files are there none are: nothing is done to those of another."""
        key = self._listing("causes").key
        if key == self._shown_cause:
            return
        self._shown_cause = key
        files, cause = self._listing("files"), self._causes.get(key)
        files.marked.clear()
        self._pager = None
        if cause is not None:
            draw = partial(self._draw_files_of, key)
            self._pager = Pager[Job](files, partial(self._fetch, cause), draw, self._desk.note)
        self._draw_files(at=0)

    @work
    async def _look(self) -> None:
        await self._following.run()

    async def _follow(self) -> None:
        self._turn()
        if self._pager is not None:
            await self._pager.again()
        else:
            self._draw_files()

    async def _followed(self) -> None:
        """Have the files of the current cause: keys come faster than answers."""
        if not self._listing("causes").rows:
            await self._reloading.run()
        self._turn()
        if self._pager is not None and not self._pager.window.items:
            await self._following.run()

    async def _fetch(self, cause: Cause, cursor: str | None, last: bool) -> Page[Job]:
        def question(client: Client) -> JobPage:
            return client.jobs(kind=cause.kind, cause=cause.cause, limit=PAGE, cursor=cursor, last=last)

        page = await self._desk.ask(question)
        return Page(page.items, page.next_cursor, page.prev_cursor)

    def on_listing_wanting(self, event: Listing.Wanting) -> None:
        """Load what lies beyond the end that is near."""
        event.stop()
        self._go(event.where)

    @work
    async def _go(self, where: str) -> None:
        if self._pager is not None:
            await self._pager.go(where)

    def on_listing_chosen(self, event: Listing.Chosen) -> None:
        """Go to the files of a cause, or show everything about a file."""
        event.stop()
        if event.listing.id == "causes":
            self._listing("files").focus()
        else:
            self._open()

    @work
    async def _open(self) -> None:
        await self._followed()
        key = self._listing("files").key
        if upload := self._refused.get(key):
            await self._desk.show_lines("Refused upload", _upload_lines(upload), upload.filename)
        elif key:
            job = await self._desk.tell(lambda client: client.job(UUID(key)))
            if job is not None:
                lines = job_words.lines(job, self._desk.look.now())
                await self._desk.show_lines(f"Why it failed: {job.about or job.kind}", lines, job.about or str(job.id))

    def grow_old(self, is_old: bool) -> None:
        """Show in grey what is no longer known to be so."""
        for name in ("causes", "files"):
            self._listing(name).grow_old(is_old)

    def narrow(self, text: str) -> None:
        """Show only the causes that contain ``text``."""
        self._text = text
        self._draw_causes()

    def go_back(self) -> bool:
        """Unmark what is marked, or go back to the causes."""
        files = self._listing("files")
        if files.marked:
            files.marked.clear()
            files.refresh()
            return True
        if files.has_focus:
            self._listing("causes").focus()
            return True
        return False

    def _listing(self, name: str) -> Listing:
        return self._parts.listing(name)

    def _safe(self, cells: Sequence[object]) -> tuple[str, ...]:
        return tuple(safe(cell, ascii_only=self._desk.look.ascii_only) for cell in cells)

    def _draw_causes(self) -> None:
        now = self._desk.look.now()
        rows = []
        for key, cause in self._causes.items():
            meaning = MEANINGS.get(cause.cause, cause.message)
            if self._text.casefold() not in f"{cause.kind} {cause.cause} {meaning}".casefold():
                continue
            cells = (
                count(cause.count),
                count(cause.discarded),
                cause.kind,
                cause.cause,
                age(cause.last_at, now),
                meaning,
            )
            rows.append(Row(key, self._safe(cells)))
        if self._refused and self._text.casefold() in REFUSED:
            number = count(len(self._refused))
            last = max(upload.refused_at for upload in self._refused.values())
            reason = "quarantined: kept in staging/failed until you retry or forget them"
            rows.append(Row(REFUSED, self._safe((number, number, "upload", REFUSED, age(last, now), reason))))
        self._listing("causes").show(rows)

    def _draw_files_of(self, cause: str, shift: int, at: int | None) -> None:
        if cause == self._shown_cause:
            self._draw_files(shift, at)

    def _draw_files(self, shift: int = 0, at: int | None = None) -> None:
        now = self._desk.look.now()
        rows = []
        if self._shown_cause == REFUSED:
            self._jobs = {}
            for key, upload in self._refused.items():
                reason = f"{upload.code}: {upload.reason}" if upload.state == "refused" else upload.state
                rows.append(Row(key, self._safe((upload.filename, "", age(upload.refused_at, now), reason))))
        else:
            self._jobs = {str(job.id): job for job in self._pager.window.items} if self._pager else {}
            for key, job in self._jobs.items():
                failed = job.errors[-1].at if job.errors else job.created_at
                cells = (
                    job.about or str(job.id),
                    f"{job.attempt}/{job.max_attempts}",
                    age(failed, now),
                    job_words.why(job),
                )
                rows.append(Row(key, self._safe(cells)))
        self._listing("files").show(rows, shift=shift, at=at)
        told = f"Files of {self._shown_cause}" if self._shown_cause else ""
        self._parts.line("shown").update(safe(told, ascii_only=self._desk.look.ascii_only), layout=False)

    # doing

    @work
    async def action_change(self, verb: JobVerb) -> None:
        """Retry, forget or discard what is meant."""
        await self.change(verb)

    async def change(self, verb: JobVerb) -> None:
        """Retry, forget or discard: above all of the current cause, below what is marked, or the current file."""
        if self._desk.refuses():
            return
        files = self._listing("files")
        is_below = files.has_focus
        if is_below:
            await self._followed()
        cause_key = self._listing("causes").key
        keys = [key for key in (files.marked or {files.key}) if key] if is_below else []
        if is_below and not keys:
            return
        if cause_key == REFUSED:
            await self._change_refused(verb, keys or list(self._refused))
        elif is_below:
            wanted = JobSelection(ids=[UUID(key) for key in keys])
            question = about(verb, len(keys), [job.about or key for key, job in self._jobs.items() if key in keys])
            asks = verb != "retry" or len(keys) > 1
            await self._act(partial(changed, verb=verb, wanted=wanted), question if asks else None)
        elif cause := self._causes.get(cause_key):
            number = cause.count - cause.discarded if verb == "discard" else cause.count
            if not number:
                self._desk.say("They are given up already.")
                return
            wanted = JobSelection(kind=cause.kind, cause=cause.cause)
            question = about(verb, number, ())
            lines = [f"{cause.kind}: {cause.message}"]
            await self._act(partial(changed, verb=verb, wanted=wanted), Question(question.title, lines, question.yes))

    async def _change_refused(self, verb: JobVerb, keys: Sequence[str]) -> None:
        uploads = [self._refused[key] for key in keys if key in self._refused]
        names = [f"{upload.filename}  ({size(upload.size_bytes)})" for upload in uploads]
        what = "1 upload" if len(uploads) == 1 else f"{count(len(uploads))} uploads"
        if not uploads:
            return
        if verb == "retry":
            ids = [upload.task_id for upload in uploads if upload.task_id is not None]
            question = Question(f"Try {what} again?", names, "Retry")
            await self._act(partial(changed, verb="retry", wanted=JobSelection(ids=ids)), question)
        elif verb == "cancel":
            question = Question(f"Remove {what} for good? Their bytes are kept nowhere else here.", names, "Remove")
            await self._act(partial(_removed, ids=[str(upload.id) for upload in uploads]), question)
        else:
            self._desk.say("They are refused already: r tries them again, x removes them.")

    async def _act(self, does: Callable[[Client], str], question: Question | None) -> None:
        if await self._desk.act(does, question=question):
            self._listing("files").marked.clear()
            self._listing("files").refresh()

    def copy(self) -> None:
        """Copy the path of the current file."""
        key = self._listing("files").key
        if job := self._jobs.get(key):
            self._desk.copy(job.about or str(job.id))
        elif upload := self._refused.get(key):
            self._desk.copy(upload.filename)


def _removed(client: Client, ids: Sequence[str]) -> str:
    for upload_id in ids:
        client.uploads.remove(upload_id)
    return f"{count(len(ids))} removed."


def _upload_lines(upload: RefusedUpload) -> list[tuple[str, str]]:
    return [
        ("Name", upload.filename),
        ("State", upload.state),
        ("Reason", f"{upload.code}: {upload.reason}"),
        ("Repository", upload.repository),
        ("Owner", upload.owner or str(upload.owner_id)),
        ("Size", size(upload.size_bytes)),
        ("Refused", clock(upload.refused_at)),
        ("Digest", upload.digest or "-"),
        ("Job", str(upload.task_id or "-")),
        ("Id", str(upload.id)),
    ]


def _make() -> Iterator[Widget]:
    yield Listing(
        (
            Column("Count", 7, right=True),
            Column("Waiting for you", 15, right=True, drop=3),
            Column("Kind", 10),
            Column("Cause", 12, 1),
            Column("Last", 10, right=True, drop=1),
            Column("Reason", 16, 4, drop=2),
        ),
        named="causes",
        classes="part",
        empty="Nothing has failed.",
    )
    yield Static(id="shown", markup=False)
    yield Listing(
        (
            Column("File", 16, 3),
            Column("Try", 4, right=True, drop=2),
            Column("When", 10, right=True, drop=1),
            Column("Reason", 16, 4),
        ),
        named="files",
        classes="part",
        empty="",
        marks=True,
        windowed=True,
    )
