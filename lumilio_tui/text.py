"""How things are written on the screen."""

import unicodedata
from collections.abc import Sequence
from datetime import datetime

from lumiliod.contract.jobs import Progress
from lumiliod.domain.text import size_text, visible

LEFT_TO_RIGHT = "\N{LEFT-TO-RIGHT MARK}"
_RIGHT_TO_LEFT = {"R", "AL"}

_BARS = "▁▂▃▄▅▆▇█"
_ASCII_BARS = "_.:-=+*#"


def safe(value: object, *, ascii_only: bool = False) -> str:
    r"""Return ``value`` so that it cannot control the terminal, nor reorder what stands beside it.

    Control and format characters appear as ``\x1b``. After letters that are written from right to left comes a mark
    that has no width and ends their run, so that a terminal that reorders leaves the next column where it is.
    """
    text = visible(value)
    if text.isascii():
        return text
    if ascii_only:
        return text.encode("ascii", "backslashreplace").decode()
    if any(unicodedata.bidirectional(character) in _RIGHT_TO_LEFT for character in text):
        text += LEFT_TO_RIGHT
    return text


def count(number: int) -> str:
    """Return a number as people read it: ``1,234,567``."""
    return f"{number:,}"


def size(size_bytes: float) -> str:
    """Return a number of bytes for people."""
    return size_text(size_bytes)


def span(seconds: float) -> str:
    """Return a length of time in its two largest units: ``3 d 4 h``, ``12 min``, ``8 s``."""
    seconds = max(0, int(seconds))
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min"
    if seconds < 86_400:
        return f"{seconds // 3600} h {seconds % 3600 // 60} min"
    return f"{seconds // 86_400} d {seconds % 86_400 // 3600} h"


def age(at: datetime | None, now: datetime) -> str:
    """Return how long ago something was, or how long it is until then."""
    if at is None:
        return "-"
    seconds = (now - at).total_seconds()
    return span(seconds) if seconds >= 0 else f"in {span(-seconds)}"


def clock(at: datetime) -> str:
    """Return a time of day, in the time zone of this machine, with its date where that is another day."""
    return at.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def progress(done: Progress | None) -> str:
    """Say how far a job is: ``3/10 files a.jpg``."""
    if done is None:
        return ""
    far = f"{done.done}/{done.total}" if done.total is not None else str(done.done)
    return " ".join(part for part in (far, done.unit, done.text) if part)


def sparkline(values: Sequence[float], width: int, *, ascii_only: bool = False) -> str:
    """Draw the newest ``width`` values as bars, the highest as high as a line."""
    bars = _ASCII_BARS if ascii_only else _BARS
    shown = values[-width:]
    most = max(shown, default=0.0)
    if most <= 0:
        return bars[0] * len(shown)
    return "".join(bars[min(len(bars) - 1, int(value / most * (len(bars) - 1) + 0.5))] for value in shown)
