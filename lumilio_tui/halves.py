"""A picture in coloured half blocks."""

from rich.segment import Segment
from textual.geometry import Size
from textual.strip import Strip
from textual_image.widget import HalfcellImage


class Halves(HalfcellImage, Renderable=HalfcellImage._Renderable):
    """A picture that is scaled once for the room there is, and not whenever something beside it changes."""

    _drawn_of: tuple[object, Size] | None = None
    _strips: tuple[Strip, ...] = ()

    def render_line(self, y: int) -> Strip:
        """Draw one line."""
        of = (self.image, self.content_size)
        if self._drawn_of != of:
            self._drawn_of, self._strips = of, tuple(self._scaled())
        return self._strips[y] if y < len(self._strips) else Strip([])

    def _scaled(self) -> list[Strip]:
        size = self.content_size
        if self.image is None or not size:
            return []
        console = self.app.console
        room = console.options.update(max_width=size.width, height=size.height)
        try:
            drawn = self._Renderable(self.image, size.width, size.height).__rich_console__(console, room)
            lines = Segment.split_lines(one for one in drawn if isinstance(one, Segment))
            return [Strip(line, size.width) for line in lines]
        except (OSError, ValueError):  # what came is no picture, or is not whole
            return []
