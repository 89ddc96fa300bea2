"""Do something right before a system call of this process, as another process might at the worst moment.

The call is met by its audit event (PEP 578), which is raised before the system is asked; nothing is replaced.
"""

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

_Act = Callable[[tuple[Any, ...]], object]
_wanted: dict[str, _Act] = {}
_here = threading.local()


def _hear(event: str, args: tuple[Any, ...]) -> None:
    act = _wanted.get(event)
    if act is None or getattr(_here, "busy", False):
        return
    _here.busy = True
    try:
        act(args)
    finally:
        _here.busy = False


sys.addaudithook(_hear)


@contextmanager
def before(event: str, act: _Act) -> Iterator[None]:
    """Call ``act(arguments)`` before every call that raises an audit event, such as ``os.link``, in any thread."""
    _wanted[event] = act
    try:
        yield
    finally:
        del _wanted[event]


def removing(folder: Path, times: int) -> _Act:
    """Return what removes a folder where it is empty, so many times, as a person tidying up or a re-layout does."""
    left = [times]

    def act(_args: tuple[Any, ...]) -> None:
        with suppress(FileNotFoundError):
            if left[0] > 0:
                folder.rmdir()
                left[0] -= 1

    return act
