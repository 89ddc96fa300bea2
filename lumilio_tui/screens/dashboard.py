"""The dashboard: services, assets, jobs and repositories at one glance."""

from collections.abc import Iterable, Sequence

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Grid, VerticalScroll
from textual.screen import Screen
from textual.widgets import DataTable, Footer, Header, Static

from lumilio_tui.client import Overview
from lumilio_tui.messages import Lost, Polled

Rows = Iterable[tuple[str | int | None, ...]]

_TABLES: dict[str, tuple[str, ...]] = {
    "Services": ("Service", "State", "Restarts", "Reason"),
    "Assets": ("Type", "Assets"),
    "Jobs": ("Kind", "State", "Count"),
    "Repositories": ("Name", "Status", "Assets", "Files", "Reason"),
}

_STYLES = {
    "ready": "green",
    "ok": "green",
    "online": "green",
    "degraded": "yellow",
    "starting": "yellow",
    "retryable": "yellow",
    "failed": "red",
    "stopped": "red",
    "offline": "red",
    "discarded": "red",
}


class Dashboard(Screen[None]):
    """How the daemon is, refreshed as the console polls."""

    def compose(self) -> ComposeResult:
        """Lay out one table per subject under a line for the daemon itself."""
        yield Header()
        yield Static("Asking lumiliod …", id="summary", markup=False)
        with Grid(id="panels"):
            for title in _TABLES:
                with VerticalScroll(classes="panel", can_focus=False) as panel:
                    panel.border_title = title
                    yield DataTable[Text](id=title.lower(), cursor_type="none", zebra_stripes=True)
        yield Footer()

    def on_mount(self) -> None:
        """Give the tables their columns."""
        for title, columns in _TABLES.items():
            self._table(title).add_columns(*columns)

    def on_polled(self, message: Polled) -> None:
        """Show what the daemon said."""
        now = message.overview
        summary = self.query_one("#summary", Static)
        summary.remove_class("lost")
        summary.update(_summary(now))
        self._fill("Services", [(s.name, s.state, s.restarts, s.reason) for s in now.health.services])
        self._fill("Assets", [*sorted(now.status.assets.items()), *_states(now)])
        self._fill("Jobs", [(job.kind, job.state, job.count) for job in now.status.jobs])
        self._fill("Repositories", [(r.name, r.status, r.assets, r.files, r.status_reason) for r in now.repositories])

    def on_lost(self, message: Lost) -> None:
        """Say that what is shown is no longer known to be so."""
        summary = self.query_one("#summary", Static)
        summary.add_class("lost")
        summary.update(f"{message.reason} Trying again …")

    def _fill(self, title: str, rows: Rows) -> None:
        """Replace a table's rows, keeping where the person has scrolled to."""
        table = self._table(title)
        where = table.scroll_offset
        table.clear()
        table.add_rows([_cells(row) for row in rows])
        table.scroll_to(where.x, where.y, animate=False)

    def _table(self, title: str) -> DataTable[Text]:
        return self.query_one(f"#{title.lower()}", DataTable)


def _cells(row: Sequence[str | int | None]) -> list[Text]:
    """Return styled cells; what is a number is aligned to the right, what is unprintable is left out."""
    return [
        Text(str(cell), justify="right")
        if isinstance(cell, int)
        else Text("".join(c for c in cell or "" if c.isprintable()), style=_STYLES.get(cell or "", ""))
        for cell in row
    ]


def _states(now: Overview) -> Rows:
    return [(state, count) for state, count in sorted(now.status.asset_states.items()) if state != "ready" and count]


def _summary(now: Overview) -> str:
    days, rest = divmod(int(now.health.uptime_s), 86_400)
    uptime = f"{days} d {rest // 3600} h" if days else f"{rest // 3600} h {rest % 3600 // 60} min"
    parts = [
        f"lumiliod {now.health.version}: {now.health.status}",
        f"up {uptime}",
        f"{now.status.open_jobs} open jobs",
    ]
    if now.status.discarded_jobs:
        parts.append(f"{now.status.discarded_jobs} discarded")
    if now.status.scans:
        parts.append(f"{len(now.status.scans)} scans")
    return "   ".join(parts)
