"""Repositories: how each is watched and kept in step, and deletions that wait for a person."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widget import Widget
from textual.widgets import Static

from lumilio_tui import repository_words
from lumilio_tui.asking import OneAtATime
from lumilio_tui.desk import Desk, Question, Verb
from lumilio_tui.text import age, clock, count, safe, size, span
from lumilio_tui.widgets.listing import Listing
from lumilio_tui.widgets.parts import Parts
from lumilio_tui.widgets.rows import Column, Row
from lumiliod.client import Client
from lumiliod.contract.repositories import NewRepository, Repository
from lumiliod.contract.sync import HeldDeletions, RepositorySync, SyncOperation

RUNS = 100
EXAMPLES = 200


class Repositories(Vertical):
    """Repositories above, the runs of the current one below; ``a`` approves deletions that are held."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("s", "scan", "Scan"),
        Binding("n", "add", "Add"),
        Binding("a", "decide(True)", "Approve"),
        Binding("x", "decide(False)", "Reject"),
    ]
    filter_hint = "part of a name or path"

    def __init__(self, desk: Desk) -> None:
        super().__init__()
        self._desk = desk
        self._parts = Parts(_make())
        self._text = ""
        self._repositories: dict[str, Repository] = {}
        self._sync: dict[str, RepositorySync] = {}
        self._runs: dict[str, SyncOperation] = {}
        self._reloading = OneAtATime(self._reload)
        self._following = OneAtATime(self._follow)

    def compose(self) -> ComposeResult:
        """Lay out what waits for a person, the repositories, and the runs of one."""
        yield from self._parts

    @property
    def narrowed(self) -> str:
        """Return what names or paths must contain."""
        return self._text

    def verbs(self) -> list[Verb]:
        """Return what can be done with repositories."""
        return [
            Verb("Repository: scan now", "compare the current repository with its disk", self.scan, keys="s"),
            Verb(
                "Repository: add", "make a repository of a folder, or open the one there", self.add, asks=True, keys="n"
            ),
            Verb(
                "Deletions: approve",
                "believe that what is held is missing",
                lambda: self.decide(True),
                asks=True,
                keys="a",
            ),
            Verb(
                "Deletions: reject", "keep the records of what is held", lambda: self.decide(False), asks=True, keys="x"
            ),
            Verb(
                "Repository: copy path", "copy the path of the current repository", self.copy, changes=False, keys="y"
            ),
            Verb("Repository: detach", "put the current repository away, as it is", self.detach, asks=True),
        ]

    # showing

    @work
    async def reload(self) -> None:
        """Ask anew for repositories, what is held, and the runs of the current one."""
        await self.load()

    async def load(self) -> None:
        """Ask anew, and wait for it."""
        await self._reloading.run()

    async def _reload(self) -> None:
        repositories = await self._desk.tell(lambda client: client.repositories())
        overview = await self._desk.tell(lambda client: client.sync.overview())
        if repositories is None or overview is None:
            return
        self._repositories = {str(one.id): one for one in repositories}
        self._sync = {str(one.repository_id): one for one in overview}
        self._draw()
        await self._following.run()

    def on_listing_moved(self, event: Listing.Moved) -> None:
        """Show the runs of the repository that is current now."""
        if event.listing.id == "repositories":
            self._go()

    @work
    async def _go(self) -> None:
        await self._following.run()

    async def _follow(self) -> None:
        key = self._listing("repositories").key
        runs: list[SyncOperation] = []
        if key:
            page = await self._desk.tell(lambda client: client.sync.operations(repository=key, limit=RUNS))
            if page is None:
                return
            runs = page.items
        if key == self._listing("repositories").key:
            self._runs = {str(run.id): run for run in runs}
            self._draw_runs()

    def on_listing_chosen(self, event: Listing.Chosen) -> None:
        """Show everything about a repository or a run."""
        event.stop()
        self._open(event.listing.id == "runs")

    @work
    async def _open(self, is_run: bool) -> None:
        now = self._desk.look.now()
        if is_run and (run := self._runs.get(self._listing("runs").key)):
            await self._desk.show_lines(f"Scan of {run.repository}", repository_words.of_run(run), str(run.id))
        elif not is_run and (found := self._current()):
            lines = repository_words.lines(found, self._sync.get(str(found.id)))
            if held := self._held_of(found):
                lines += [("", ""), ("Held deletions", ""), *await self._held_lines(held)]
            lines.append(("Created", f"{clock(found.created_at)}  ({age(found.created_at, now)} ago)"))
            await self._desk.show_lines(f"Repository {found.name}", lines, found.path)

    async def _held_lines(self, held: HeldDeletions) -> list[tuple[str, str]]:
        return [(f"{held.files} of {held.known}", "\n".join(await self._paths(held)))]

    async def _paths(self, held: HeldDeletions) -> list[str]:
        ref = str(held.repository_id)
        page = await self._desk.tell(lambda client: client.sync.held_files(ref, limit=EXAMPLES))
        paths = page.items if page is not None else held.examples
        more = held.files - len(paths)
        return [*paths, *([f"and {count(more)} more"] if more > 0 else [])]

    def grow_old(self, is_old: bool) -> None:
        """Show in grey what is no longer known to be so."""
        for name in ("repositories", "runs"):
            self._listing(name).grow_old(is_old)

    def narrow(self, text: str) -> None:
        """Show only the repositories whose name or path contains ``text``."""
        self._text = text
        self._draw()

    def go_back(self) -> bool:
        """Go back to the repositories."""
        if self._listing("runs").has_focus:
            self._listing("repositories").focus()
            return True
        return False

    def _listing(self, name: str) -> Listing:
        return self._parts.listing(name)

    def _current(self) -> Repository | None:
        return self._repositories.get(self._listing("repositories").key)

    def _held_of(self, repository: Repository) -> HeldDeletions | None:
        sync = self._sync.get(str(repository.id))
        return sync.held if sync is not None else None

    def _undecided(self) -> list[HeldDeletions]:
        """Return what waits for a person, that of the current repository first."""
        key = self._listing("repositories").key
        held = [one.held for one in self._sync.values() if one.held is not None and one.held.state == "held"]
        return sorted(held, key=lambda one: str(one.repository_id) != key)

    def _safe(self, cells: Sequence[object]) -> tuple[str, ...]:
        return tuple(safe(cell, ascii_only=self._desk.look.ascii_only) for cell in cells)

    def _draw(self) -> None:
        now = self._desk.look.now()
        rows = []
        for key, found in self._repositories.items():
            if self._text.casefold() not in f"{found.name} {found.path}".casefold():
                continue
            sync = self._sync.get(key)
            watch = found.watch.state if found.watch is not None else "-"
            last = sync.last if sync is not None else None
            scan = "scanning" if found.scanning else age(last.started_at if last else None, now)
            cells = (
                found.name,
                found.status,
                watch,
                count(found.assets),
                count(found.files),
                size(found.size_bytes),
                scan,
                found.path,
            )
            rows.append(Row(key, self._safe(cells)))
        self._listing("repositories").show(rows)
        held = [
            f"{count(one.files)} of {count(one.known)} files of {one.repository} are missing and held. "
            "a approve, x reject; Enter shows them."
            for one in self._undecided()
        ]
        line = self._parts.line("held")
        line.update("\n".join(self._safe(held)))
        line.set_class(bool(held), "-shown")

    def _draw_runs(self) -> None:
        now = self._desk.look.now()
        rows = []
        for key, run in self._runs.items():
            where = f"{run.folder or 'everything'}{': ' if run.error or run.note else ''}{run.error or run.note or ''}"
            took = span(run.duration_s) if run.duration_s is not None else "-"
            cells = (
                age(run.started_at, now),
                run.type,
                run.status,
                count(run.added),
                count(run.changed),
                count(run.moved),
                count(run.missing),
                took,
                where,
            )
            rows.append(Row(key, self._safe(cells)))
        self._listing("runs").show(rows)
        current = self._current()
        told = f"Runs of {current.name}" if current else ""
        if current and current.status_reason:
            told += f"   {current.status}: {current.status_reason}"
        elif current and current.watch and current.watch.reason:
            told += f"   {current.watch.state}: {current.watch.reason}"
        self._parts.line("shown").update(safe(told, ascii_only=self._desk.look.ascii_only), layout=False)

    # doing

    @work
    async def action_scan(self) -> None:
        """Scan the current repository."""
        await self.scan()

    async def scan(self) -> None:
        """Scan the current repository."""
        if found := self._current():
            await self._desk.act(partial(_scanned, ref=str(found.id), name=found.name))

    @work
    async def action_add(self) -> None:
        """Add a repository."""
        await self.add()

    async def add(self) -> None:
        """Ask for a folder, and make a repository of it or open the one there."""
        if self._desk.refuses():
            return
        wanted = await self._desk.pick_folder()
        if wanted is not None:
            await self._desk.act(partial(_added, wanted=wanted))

    @work
    async def action_decide(self, approve: bool) -> None:
        """Approve or reject what is held."""
        await self.decide(approve)

    async def decide(self, approve: bool) -> None:
        """Approve or reject what is held, having shown it: that of the current repository, else the first."""
        if self._desk.refuses():
            return
        held = next(iter(self._undecided()), None)
        if held is None:
            self._desk.say("Nothing is held.")
            return
        numbers = f"{count(held.files)} of {count(held.known)} files of {held.repository}"
        if approve:
            title, yes = f"Believe that {numbers} are missing? What has them only there goes to the trash.", "Approve"
        else:
            title, yes = f"Keep the records of {numbers} as they are?", "Reject"

        async def question() -> Question:
            return Question(title, await self._paths(held), yes)

        await self._desk.act(partial(_decided, held=held, approve=approve), question=question)

    async def detach(self) -> None:
        """Put the current repository away."""
        if found := self._current():
            question = Question(
                f"Detach {found.name}? It is served and watched no longer; nothing is deleted.", [found.path], "Detach"
            )
            await self._desk.act(partial(_detached, ref=str(found.id), name=found.name), question=question)

    def copy(self) -> None:
        """Copy the path of the current repository."""
        if found := self._current():
            self._desk.copy(found.path)


def _scanned(client: Client, ref: str, name: str) -> str:
    client.scan(ref)
    return f"A scan of {name} is asked for."


def _added(client: Client, wanted: NewRepository) -> str:
    added = client.add_repository(wanted)
    return f"Repository {added.name} is there: {added.path}"


def _detached(client: Client, ref: str, name: str) -> str:
    client.repos.detach(ref)
    return f"{name} is detached."


def _decided(client: Client, held: HeldDeletions, approve: bool) -> str:
    ref = str(held.repository_id)
    if approve:
        client.sync.approve(ref, held.plan_id)
        return f"Approved: a scan of {held.repository} marks what is still missing."
    client.sync.reject(ref, held.plan_id)
    return f"Rejected: the records of {held.repository} stay as they are."


def _make() -> Iterator[Widget]:
    yield Static(id="held", markup=False)
    yield Listing(
        (
            Column("Repository", 12, 2),
            Column("Status", 8),
            Column("Watch", 9),
            Column("Assets", 9, right=True),
            Column("Files", 9, right=True, drop=3),
            Column("Size", 10, right=True, drop=2),
            Column("Last scan", 12, right=True, drop=1),
            Column("Path", 12, 3, drop=4),
        ),
        named="repositories",
        classes="part",
        empty="No repository yet: n adds one.",
    )
    yield Static(id="shown", markup=False)
    yield Listing(
        (
            Column("When", 10, right=True),
            Column("Why", 14, drop=1),
            Column("State", 9),
            Column("New", 6, right=True),
            Column("Changed", 7, right=True),
            Column("Moved", 6, right=True, drop=3),
            Column("Missing", 7, right=True),
            Column("Took", 7, right=True, drop=2),
            Column("Where and what", 10, 1, drop=4),
        ),
        named="runs",
        classes="part",
        empty="No run yet.",
    )
