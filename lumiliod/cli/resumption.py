"""Where large uploads were begun, so that the next run of a command that was interrupted goes on with them."""

import hashlib
import os
import time
from contextlib import suppress
from pathlib import Path

KEPT_S = 2 * 86_400
"""The daemon gives an upload up a day after its last byte."""


class Resumption:
    """What is remembered of one file on its way to one repository of one daemon; a file that changed is another.

    A state folder that cannot be used makes no upload fail: then nothing is remembered.
    """

    def __init__(self, socket: str, file: str, repository: str | None, status: os.stat_result) -> None:
        told = [os.path.realpath(socket), repository or "", os.path.realpath(file), status.st_size, status.st_mtime_ns]
        key = hashlib.sha256("\0".join(map(str, told)).encode("utf-8", "surrogateescape")).hexdigest()
        self._path = _folder() / key

    def recall(self) -> str | None:
        """Return the upload that was begun, None for none."""
        with suppress(OSError, UnicodeDecodeError):
            return self._path.read_text("ascii").strip() or None
        return None

    def keep(self, upload_id: str) -> None:
        """Remember an upload; those that were given up long ago are forgotten."""
        with suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            for other in self._path.parent.iterdir():
                if other.stat().st_mtime < time.time() - KEPT_S:
                    other.unlink()
        with suppress(OSError):
            self._path.write_text(upload_id, "ascii")

    def forget(self) -> None:
        """Remember it no more."""
        with suppress(OSError):
            self._path.unlink()


def _folder() -> Path:
    """Return where a person's programs keep what outlives them (XDG Base Directory Specification)."""
    told = os.environ.get("XDG_STATE_HOME", "")
    with suppress(RuntimeError):  # nobody's home
        return Path(told if Path(told).is_absolute() else Path.home() / ".local/state") / "lumilio/uploads"
    return Path("/nonexistent")
