"""One asset: its picture, large, and everything that is known of it."""

from typing import ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Horizontal, Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

from lumilio_tui import pictures
from lumilio_tui.desk import Desk
from lumilio_tui.text import clock, count, safe, size
from lumiliod.contract.assets import Asset, AssetDetail

LARGE = 1024


class AssetView(ModalScreen[None]):
    """Show an asset until the person has seen it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,enter", "leave", "Back"),
        Binding("y", "copy", "Copy path"),
        Binding("j,down", "scroll(1)", show=False),
        Binding("k,up", "scroll(-1)", show=False),
    ]

    def __init__(self, desk: Desk, asset: AssetDetail) -> None:
        super().__init__()
        self._desk = desk
        self._asset = asset

    def compose(self) -> ComposeResult:
        """Lay out the picture and what is known."""
        ascii_only = self._desk.look.ascii_only
        told = [f"{safe(n, ascii_only=ascii_only):<14} {safe(v, ascii_only=ascii_only)}" for n, v in lines(self._asset)]
        with Vertical(id="dialog", classes="asset"):
            yield Static(safe(self._asset.original_filename, ascii_only=ascii_only), id="title", markup=False)
            with Horizontal():
                if self._desk.look.images != "none" and self._asset.thumbnails:
                    with Container(classes="frame large"):
                        yield pictures.picture(self._desk.look.images)
                with VerticalScroll(id="lines", can_focus=False):
                    yield Static("\n".join(told), markup=False)
            yield Static("Esc back   j k scroll   y copy path", id="answers", markup=False)

    def on_mount(self) -> None:
        """Ask for the picture."""
        if self.query(".picture"):
            self._look()

    @work
    async def _look(self) -> None:
        asset = self._asset
        large = self._desk.look.images != "half"
        pixels = max((one for one in asset.thumbnails if large or one <= 300), default=min(asset.thumbnails))
        data = await self._desk.tell(lambda client: client.thumbnail(asset.id, min(pixels, LARGE)))
        for shown in self.query(".picture"):
            pictures.put(shown, data)

    def action_leave(self) -> None:
        """Go back."""
        self.dismiss(None)

    def action_copy(self) -> None:
        """Copy the path."""
        self._desk.copy(self._asset.path or self._asset.original_filename)

    def action_scroll(self, by: int) -> None:
        """Show more."""
        self.query_one("#lines").scroll_relative(y=by, animate=False)


def stars(asset: Asset) -> str:
    """Return an asset's rating in characters."""
    return "*" * (asset.rating or 0)


def lines(asset: AssetDetail) -> list[tuple[str, str]]:
    """Return names and values of what is known of an asset."""
    camera = " ".join(part for part in (asset.camera_make, asset.camera_model) if part)
    shot = [
        f"f/{asset.f_number:g}" if asset.f_number else "",
        f"{asset.exposure_s:g} s" if asset.exposure_s else "",
        f"ISO {asset.iso}" if asset.iso else "",
        f"{asset.focal_length_mm:g} mm" if asset.focal_length_mm else "",
    ]
    told = [
        ("Type", f"{asset.type}, {asset.mime_type}"),
        ("State", asset.status + (f": {asset.status_reason}" if asset.status_reason else "")),
        ("Taken", f"{asset.taken_at_local:%Y-%m-%d %H:%M:%S}  ({asset.taken_source}, zone: {asset.tz_source})"),
        ("Rating", stars(asset)),
        ("Liked", "yes" if asset.liked else ""),
        ("Title", asset.title or ""),
        ("Description", asset.description or ""),
        ("Keywords", ", ".join(asset.keywords)),
        ("Pixels", f"{asset.width} x {asset.height}" if asset.width else ""),
        ("Length", f"{asset.duration_s:.1f} s" if asset.duration_s else ""),
        ("Camera", camera),
        ("Lens", asset.lens_model or ""),
        ("Exposure", "  ".join(part for part in shot if part)),
        ("Place", f"{asset.latitude:.5f}, {asset.longitude:.5f}" if asset.latitude and asset.longitude else ""),
        ("Artist", asset.artist or ""),
        ("Album", asset.album or ""),
        ("Size", f"{size(asset.size_bytes)}  ({count(asset.size_bytes)} bytes)"),
        ("Repository", asset.repository),
        ("Path", asset.path or ""),
        ("Stack", f"{asset.stack.kind} of {asset.stack.count}: {asset.stack.why}" if asset.stack else ""),
        *(("Beside it", f"{one.path or one.kind}: {one.why}") for one in asset.companions),
        ("Versions", str(len(asset.versions)) if asset.versions else ""),
        ("Added", clock(asset.added_at)),
        ("Digest", asset.digest),
        ("Id", str(asset.id)),
    ]
    return [(name, value) for name, value in told if value]
