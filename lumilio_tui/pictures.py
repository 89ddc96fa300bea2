"""Pictures in the terminal: by kitty's protocol, by sixels, by coloured half blocks, or not at all."""

import io
import sys
from typing import TYPE_CHECKING, Literal, Protocol, cast

if TYPE_CHECKING:
    from textual.widget import Widget


class _Shown(Protocol):
    image: io.BytesIO | None


Images = Literal["auto", "kitty", "sixel", "half", "none"]

CHOICES: tuple[Images, ...] = ("auto", "kitty", "sixel", "half", "none")


def detected(wanted: Images, *, ascii_only: bool) -> str:
    """Return what pictures are drawn by; ``auto`` asks the terminal, so call it before anything else reads from it."""
    if wanted == "none" or ascii_only:
        return "none"
    if wanted != "auto":
        return wanted
    if sys.__stdout__ is None or not sys.__stdout__.isatty():
        return "half"
    # the size of a cell in pixels can be asked for only now, too; it is kept
    import textual_image.widget  # noqa: F401
    from textual_image.renderable import Image as Found
    from textual_image.renderable import SixelImage, TGPImage

    return "sixel" if Found is SixelImage else "kitty" if Found is TGPImage else "half"


def picture(kind: str) -> "Widget":
    """Return a widget that shows a picture, once :func:`put` gave it one."""
    from textual_image import widget

    match kind:
        case "kitty":
            return widget.TGPImage(classes="picture")
        case "sixel":
            return widget.SixelImage(classes="picture")
        case _:
            from lumilio_tui.halves import Halves

            return Halves(classes="picture")


def put(shown: "Widget", data: bytes | None) -> bool:
    """Show a picture file, or none; False when it cannot be read."""
    image = cast(_Shown, shown)
    try:
        image.image = io.BytesIO(data) if data else None
    except (OSError, ValueError):
        image.image = None
        return False
    return True
