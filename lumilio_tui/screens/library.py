"""The library: assets in a grid of pictures; rated, liked, put into the trash and taken out of it."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from typing import ClassVar
from uuid import UUID

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widgets import Static

from lumilio_tui.asking import OneAtATime
from lumilio_tui.desk import Desk, Question, Verb
from lumilio_tui.dialogs.asset import stars
from lumilio_tui.text import count, safe, size
from lumilio_tui.widgets.grid import Grid, Tile
from lumiliod.client import Client, ClientError
from lumiliod.contract.assets import Asset
from lumiliod.contract.trash import RemoveRequest, RestoreRequest, TrashChanged, TrashItem

CACHED = 500
"""So many thumbnails are kept."""
AT_ONCE = 4
SHARE = 0.05
"""The share of the time that the daemon may be asked for what is shown already."""


class Library(Vertical):
    """A page of the library or of the trash at a time."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("plus,equals_sign", "rate(1)", "Rate", key_display="+ -"),
        Binding("minus", "rate(-1)", "Rate lower", show=False),
        Binding("f", "like", "Like"),
        Binding("t", "trash", "Trash"),
        Binding("u", "restore", "Restore", show=False),
        Binding("T", "show_trash", "Show trash"),
    ]
    filter_hint = "type:photo camera:X-T5 after:2024-05 rating:>=4 liked:true words"

    def __init__(self, desk: Desk) -> None:
        super().__init__()
        self._desk = desk
        self._shown = Static("", id="shown", markup=False)
        self._grid = Grid(desk.look.images, named="grid")
        self._query = ""
        self._in_trash = False
        self._cursors: list[str | None] = [None]
        self._next: str | None = None
        self._total: int | None = None
        self._items: dict[str, Asset | TrashItem] = {}
        self._elsewhere: dict[str, Asset | TrashItem] = {}
        """What is marked on other pages."""
        self._cached: OrderedDict[tuple[str, str], bytes] = OrderedDict()
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._again_at = 0.0
        self._loading = OneAtATime(self._load)
        self._cursor: int | None = None
        self._changing = asyncio.Lock()

    def compose(self) -> ComposeResult:
        """Lay out what is shown, and the grid."""
        yield self._shown
        yield self._grid

    @property
    def narrowed(self) -> str:
        """Return the query."""
        return self._query

    def verbs(self) -> list[Verb]:
        """Return what can be done with assets."""
        return [
            Verb("Library: rate higher", "a star more for what is marked, or current", lambda: self.rate(1), keys="+"),
            Verb("Library: rate lower", "a star less", lambda: self.rate(-1), keys="-"),
            Verb("Library: like", "like what is marked, or current, or no longer", self.like, keys="f"),
            Verb(
                "Library: put into the trash", "it can be taken out again for a while", self.trash, asks=True, keys="t"
            ),
            Verb("Library: take out of the trash", "restore what is marked, or current", self.restore, keys="u"),
            Verb("Library: show the trash", "or the library again", self.action_show_trash, changes=False, keys="T"),
            Verb("Library: copy path", "copy the path of the current asset", self.copy, changes=False, keys="y"),
        ]

    # showing

    @work
    async def reload(self) -> None:
        """Ask anew for the page, as often as its cost allows."""
        if time.monotonic() >= self._again_at:
            await self._loading.run()

    async def load(self) -> None:
        """Ask anew, and wait for it."""
        await self._loading.run()

    @work
    async def _load_now(self, cursor: int | None = None) -> None:
        self._cursor = cursor
        await self._loading.run()

    async def _load(self) -> None:
        limit = self._grid.capacity
        if not limit:
            return
        began, wanted = time.monotonic(), self._wanted
        cursor, in_trash, query = wanted
        place, self._cursor = self._cursor, None
        items: Sequence[Asset | TrashItem]
        if in_trash:
            trash = await self._desk.tell(lambda client: client.trash.page(limit=limit, cursor=cursor))
            if trash is None:
                return
            items, after, total = trash.items, trash.next_cursor, trash.summary.count
        else:
            found = await self._desk.tell(lambda client: client.search(query, limit=limit, cursor=cursor))
            if found is None:
                return
            items, after, total = found.items, found.next_cursor, found.total
        ended = time.monotonic()
        self._again_at = ended + (ended - began) / SHARE
        if wanted == self._wanted:  # else somebody has gone elsewhere, and that is loaded next
            known = self._elsewhere | self._items
            self._elsewhere = {key: item for key, item in known.items() if key in self._grid.marked}
            self._items, self._next, self._total = {_key(item): item for item in items}, after, total
            self._draw(place)

    @property
    def _wanted(self) -> tuple[str | None, bool, str]:
        return self._cursors[-1], self._in_trash, self._query

    def on_grid_resized(self) -> None:
        """Fill the room there is now, from the beginning."""
        self._cursors = [None]
        self._load_now()

    def on_grid_turned(self, event: Grid.Turned) -> None:
        """Go to another page."""
        if event.by > 0:
            if self._next is None:
                return
            self._cursors.append(self._next)
        elif event.by < 0:
            if len(self._cursors) == 1:
                return
            self._cursors.pop()
        else:
            self._cursors = [None]
        self._load_now(0 if event.by >= 0 else self._grid.capacity - 1)

    def on_grid_moved(self) -> None:
        """Say what is current."""
        self._draw_shown()

    def on_grid_chosen(self) -> None:
        """Show everything about the current asset."""
        self._open()

    @work
    async def _open(self) -> None:
        key = self._grid.key
        item = self._items.get(key)
        if isinstance(item, TrashItem):
            await self._desk.show_lines(f"In the trash: {item.original_filename}", _trash_lines(item), key)
        elif item is not None:
            asset = await self._desk.tell(lambda client: client.asset(UUID(key)))
            if asset is not None:
                await self._desk.show_asset(asset)

    def grow_old(self, is_old: bool) -> None:
        """Show in grey what is no longer known to be so."""
        self.set_class(is_old, "-old")

    def narrow(self, text: str) -> None:
        """Show only what a query finds."""
        self._query, self._in_trash = text, False
        self._cursors = [None]
        self._grid.marked.clear()
        self._load_now(0)

    def go_back(self) -> bool:
        """Unmark what is marked, or leave the trash."""
        if self._grid.marked:
            self._grid.marked.clear()
            self._draw(None)
            return True
        if self._in_trash:
            self.action_show_trash()
            return True
        return False

    def action_show_trash(self) -> None:
        """Show the trash, or the library again."""
        self._in_trash = not self._in_trash
        self._cursors = [None]
        self._grid.marked.clear()
        self._load_now(0)

    def _safe(self, text: object) -> str:
        return safe(text, ascii_only=self._desk.look.ascii_only)

    def _draw(self, cursor: int | None) -> None:
        tiles = []
        for key, item in self._items.items():
            mark = "* " if key in self._grid.marked else ""
            instead = f"{item.type}\nin the trash" if isinstance(item, TrashItem) else _instead(item)
            said = f" {stars(item)}{' +' if item.liked else ''}".rstrip() if isinstance(item, Asset) else ""
            tiles.append(Tile(key, f"{mark}{self._safe(item.original_filename)}{said}", self._safe_lines(instead)))
        self._grid.show(tiles, cursor=cursor)
        self._draw_shown()
        if self._desk.look.images != "none":
            for item in self._items.values():
                if isinstance(item, Asset) and item.thumbnails:
                    self._picture(item)

    def _safe_lines(self, text: str) -> str:
        return "\n".join(self._safe(line) for line in text.split("\n"))

    @work
    async def _picture(self, asset: Asset) -> None:
        key, known = str(asset.id), (str(asset.id), asset.thumbnail_version or "")
        if known not in self._cached:
            wanted = 150 if self._desk.look.images == "half" else 300
            pixels = wanted if wanted in asset.thumbnails else min(asset.thumbnails)
            async with self._slots:
                if key not in self._items or known in self._cached:
                    return
                try:
                    data = await self._desk.ask(lambda client: client.thumbnail(asset.id, pixels))
                except ClientError:
                    return  # what is said instead of it stays
            self._cached[known] = data
            while len(self._cached) > CACHED:
                self._cached.popitem(last=False)
        self._cached.move_to_end(known)
        self._grid.show_picture(key, self._cached[known])

    def _draw_shown(self) -> None:
        item = self._items.get(self._grid.key)
        where = "trash" if self._in_trash else f"library: {self._query}" if self._query else "library"
        told = [f"{where}, page {len(self._cursors)}"]
        if self._total is not None:
            told.append(f"{count(self._total)} assets")
        if self._grid.marked:
            told.append(f"{len(self._grid.marked)} marked")
        if isinstance(item, Asset):
            told += [f"{item.taken_at_local:%Y-%m-%d %H:%M}", size(item.size_bytes), item.path or ""]
        elif item is not None and item.purge_at is not None:
            told.append(f"purged {item.purge_at:%Y-%m-%d} at the earliest")
        if not self._items:
            told.append("nothing here")
        self._shown.update(self._safe("   ".join(part for part in told if part)), layout=False)

    # doing

    def _meant(self) -> dict[str, Asset | TrashItem]:
        """Return what is marked, on other pages, too, or what is current."""
        known = self._elsewhere | self._items
        return {key: known[key] for key in (self._grid.marked or {self._grid.key}) if key in known}

    def _assets(self) -> list[UUID]:
        return [item.id for item in self._meant().values() if isinstance(item, Asset)]

    @work
    async def action_rate(self, by: int) -> None:
        """Give what is meant a star more, or less."""
        await self.rate(by)

    async def rate(self, by: int) -> None:
        """Give what is meant a star more, or less."""
        if ids := self._assets():
            await self._changed(partial(_rated, ids=ids, by=by))

    @work
    async def action_like(self) -> None:
        """Like what is meant, or no longer."""
        await self.like()

    async def like(self) -> None:
        """Like what is meant, or no longer when all of it is liked."""
        if ids := self._assets():
            await self._changed(partial(_liked, ids=ids))

    @work
    async def action_trash(self) -> None:
        """Put what is meant into the trash."""
        await self.trash()

    async def trash(self) -> None:
        """Put what is meant into the trash, having asked."""
        meant = self._meant()
        if self._in_trash or not meant:
            return
        what = "1 asset" if len(meant) == 1 else f"{count(len(meant))} assets"
        names = [item.original_filename for item in meant.values()]
        question = Question(
            f"Put {what} into the trash? Files in folders of yours stay where they are and are hidden.", names, "Trash"
        )
        wanted = RemoveRequest(ids=[UUID(key) for key in meant])
        await self._changed(lambda client: _told(client.trash.remove(wanted), "put into the trash"), question)

    @work
    async def action_restore(self) -> None:
        """Take what is meant out of the trash."""
        await self.restore()

    async def restore(self) -> None:
        """Take what is meant out of the trash."""
        meant = self._meant()
        if not self._in_trash:
            self._desk.say("This is the library: T shows the trash.")
        elif meant:
            wanted = RestoreRequest(ids=[UUID(key) for key in meant])
            await self._changed(lambda client: _told(client.trash.restore(wanted), "taken out of the trash"))

    async def _changed(self, does: Callable[[Client], str], question: Question | None = None) -> None:
        async with self._changing:  # a key pressed twice is a star and another one
            done = await self._desk.act(does, question=question)
        if done:
            self._grid.marked.clear()
            self._load_now()

    def copy(self) -> None:
        """Copy the path of the current asset."""
        item = self._items.get(self._grid.key)
        if item is not None:
            self._desk.copy((item.path if isinstance(item, Asset) else None) or item.original_filename)


def _key(item: Asset | TrashItem) -> str:
    return str(item.id if isinstance(item, Asset) else item.asset_id)


def _instead(asset: Asset) -> str:
    return f"{asset.type}\n{asset.status_reason or asset.status}"


def _rated(client: Client, ids: Sequence[UUID], by: int) -> str:
    rating = 0
    for asset_id in ids:
        rating = max(0, min(5, (client.asset(asset_id).rating or 0) + by))
        client.rate(asset_id, rating)
    return f"{rating} stars." if len(ids) == 1 else f"{len(ids)} rated."


def _liked(client: Client, ids: Sequence[UUID]) -> str:
    liked = not all(client.asset(asset_id).liked for asset_id in ids)
    for asset_id in ids:
        client.like(asset_id, liked=liked)
    return "Liked." if liked else "No longer liked."


def _told(done: TrashChanged, what: str) -> str:
    others = [result.outcome.replace("_", " ") for result in done.results if result.outcome not in _GOOD]
    told = f"{count(done.count)} {what}."
    return f"{told} {len(others)} not: {', '.join(sorted(set(others)))}." if others else told


_GOOD = ("removed", "restored", "restoring", "purging")


def _trash_lines(item: TrashItem) -> list[tuple[str, str]]:
    told = [
        ("Name", item.original_filename),
        ("Type", f"{item.type}, {item.mime_type}"),
        ("State", item.state),
        ("Why", item.why),
        ("Removed", f"{item.deleted_at:%Y-%m-%d %H:%M}"),
        ("Purged", f"{item.purge_at:%Y-%m-%d} at the earliest" if item.purge_at else "never"),
        ("Size", size(item.size_bytes)),
        ("Files", "\n".join(file.path for file in item.files)),
        ("Hidden", str(item.hidden) if item.hidden else ""),
        ("Refused", item.refused or ""),
        ("Id", str(item.asset_id)),
    ]
    return [(name, value) for name, value in told if value]
