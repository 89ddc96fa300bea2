"""What the poller tells the screens."""

from textual.message import Message

from lumilio_tui.client import Overview


class Polled(Message):
    """The daemon answered."""

    def __init__(self, overview: Overview) -> None:
        super().__init__()
        self.overview = overview


class Lost(Message):
    """The daemon could not be asked; ``reason`` is a sentence for people."""

    def __init__(self, reason: str) -> None:
        super().__init__()
        self.reason = reason
