"""A table draws only lines that have changed, and what it shows is as if all were drawn."""

import asyncio
import random
from collections.abc import Callable
from typing import Any

from textual.app import App, ComposeResult
from textual.widgets import Input

from lumilio_tui.widgets.listing import Listing
from lumilio_tui.widgets.rows import Column, Row


class Shown(App[None]):
    """A table, and something else that can have the focus."""

    CSS = """
    Listing > .listing--cursor { background: $primary; }
    Listing > .listing--cursor-idle { background: $panel; }
    Listing > .listing--marked { color: $warning; }
    Listing > .listing--old { text-style: dim; }
    Listing > .listing--good { color: $success; }
    """

    def compose(self) -> ComposeResult:
        """Lay out both."""
        yield Listing((Column("A", 4), Column("B", 10, 1)), marks=True)
        yield Input()


def rows(first: int, last: int, word: str) -> list[Row]:
    return [
        Row(str(number), (str(number), f"{word} {number}" if number % 3 else "ready")) for number in range(first, last)
    ]


def drawn(app: App[Any]) -> list[list[tuple[str, str]]]:
    return [
        [(segment.text, str(segment.style)) for segment in strip.simplify()]
        for strip in app.screen._compositor.render_strips()
    ]


def test_what_is_drawn_is_what_there_is() -> None:
    chance = random.Random(7)

    async def main() -> None:
        app = Shown()
        async with app.run_test(size=(50, 14)) as pilot:
            listing = app.query_one(Listing)
            ways: dict[str, Callable[[], object]] = {
                "show": lambda: listing.show(rows(start := chance.randrange(20), start + chance.randrange(40), "x")),
                "more": lambda: listing.show(rows(0, 30, chance.choice("xyz"))),
                "none": lambda: listing.show(()),
                "put": lambda: listing.put(chance.randrange(40)),
                "down": lambda: listing.action_move(1),
                "up": lambda: listing.action_move(-1),
                "leap": lambda: listing.action_leap(chance.choice((-1, 1))),
                "mark": listing.action_mark,
                "old": lambda: listing.grow_old(chance.random() < 0.5),
                "focus": lambda: chance.choice((listing, app.query_one(Input))).focus(),
                "theme": lambda: setattr(app, "theme", chance.choice(("nord", "textual-light"))),
            }
            for _ in range(150):
                way = chance.choice(list(ways))
                ways[way]()
                await pilot._wait_for_screen()
                app.screen._on_timer_update()
                shown = drawn(app)
                listing._forget()
                listing._styles_cache.clear()
                listing.refresh()
                await pilot._wait_for_screen()
                app.screen._on_timer_update()
                assert shown == drawn(app), way

    asyncio.run(main())
