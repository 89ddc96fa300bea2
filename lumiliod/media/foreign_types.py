"""Media types of other people's packages: each is loaded once in a worker of its own before it may join ours.

One that cannot be loaded, or ends the process that loads it, is left out and told of; the others work.
"""

import logging
from collections.abc import Sequence

import msgspec
import trio

from lumiliod.domain.errors import Unavailable
from lumiliod.media import forkserver, sandbox
from lumiliod.media.wire import Setup

log = logging.getLogger(__name__)

ATTEMPT_LIMIT_S = 10.0
"""How long one may take to be imported: the daemon is not ready before."""


async def without_broken(setup: Setup, ours: Sequence[str]) -> tuple[Setup, dict[str, str]]:
    """Return a set-up of the media types that load, and why the others do not, by ``module:attribute``."""
    broken: dict[str, str] = {}
    for name in setup.media_types:
        if name not in ours and (reason := await _trouble(msgspec.structs.replace(setup, media_types=(name,)))):
            broken[name] = reason
            log.warning("a media type is left out", extra={"media_type": name, "reason": reason})
    kept = tuple(name for name in setup.media_types if name not in broken)
    return msgspec.structs.replace(setup, media_types=kept), broken


async def _trouble(setup: Setup) -> str | None:
    """Return why no worker starts with a set-up, or None where one does."""
    async with (
        forkserver.opened(setup.media_types) as forks,
        sandbox.opened(forks, setup, 1, ATTEMPT_LIMIT_S) as box,
    ):
        try:
            with trio.move_on_after(ATTEMPT_LIMIT_S):
                await box.start()
                return None
        except Unavailable as error:
            return error.message
    return f"it is not imported within {ATTEMPT_LIMIT_S:g} s"
