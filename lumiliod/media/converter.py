"""Conversions by the hardware that is there, and by software where there is none, or once it has failed."""

import logging
import os
from collections.abc import Callable

import trio

from lumiliod.domain.errors import LumilioError
from lumiliod.media.encoders import SOFTWARE
from lumiliod.media.media_type import Converted
from lumiliod.media.sandbox import Advance, Sandbox
from lumiliod.media.wire import Convert, Made, Probe, Probed

log = logging.getLogger(__name__)

_OF_ENCODERS = frozenset({"encoder_failed", "poison", "timeout", "stalled", "no_worker"})
"""Codes of failures that a driver may be to blame for."""


class Converter:
    """Has originals converted.

    Args:
        plain: workers that reach nothing.
        cards: workers that reach the devices of the hardware, used only where that was found to work.
        candidates: the hardware encoders to be tried.
        is_named: whether a person named them: then it is told that they do not work.
        report: told in one line why the hardware is not used that should be.
    """

    def __init__(
        self,
        plain: Sandbox,
        cards: Sandbox,
        candidates: tuple[str, ...],
        *,
        is_named: bool,
        report: Callable[[str | None], object],
    ) -> None:
        self._plain, self._cards = plain, cards
        self._candidates, self._is_named, self._report = candidates, is_named, report
        self._probing = trio.Lock()
        self.encoder: str | None = None if candidates else SOFTWARE
        """The encoder that is used; None until the first conversion has it found out."""

    @property
    def pids(self) -> tuple[int, ...]:
        """Return the ids of the processes at work or ready."""
        return self._plain.pids + self._cards.pids

    async def convert(self, original: int, scratch: int, into: int, advance: Advance) -> Converted:
        """Convert an original; what a hardware encoder fails at is begun anew by software, now and from then on.

        Raises as :meth:`Sandbox.ask`.
        """
        async with self._probing:
            if self.encoder is None:
                self.encoder = await self._found()
        failure: LumilioError | None = None
        if (encoder := self.encoder) != SOFTWARE:
            try:
                return _converted(await self._cards.ask(Convert(encoder), original, scratch, into, advance=advance))
            except LumilioError as error:
                if error.code not in _OF_ENCODERS:
                    raise
                failure = error
        converted = _converted(await self._plain.ask(Convert(), original, scratch, into, advance=advance))
        if failure is not None:  # the file was not to blame
            self.encoder = SOFTWARE
            log.warning("hardware encoder given up", extra={"encoder": encoder, "reason": failure.message})
            self._report(f"{encoder} failed, films are encoded by {SOFTWARE}: {failure.message}")
        return converted

    async def _found(self) -> str:
        """Return the encoder to use."""
        nothing = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        try:
            answer = await self._cards.ask(Probe(self._candidates), nothing)
        except LumilioError as error:
            if error.code not in _OF_ENCODERS:
                raise
            answer = Probed(None, dict.fromkeys(self._candidates, error.message))
        finally:
            os.close(nothing)
        assert isinstance(answer, Probed)
        reasons = "; ".join(f"{name}: {reason}" for name, reason in answer.reasons.items())
        log.info("encoder of films: %s", answer.works or SOFTWARE, extra={"reasons": reasons})
        if answer.works is None:
            await self._cards.close()  # nobody needs workers that reach devices
            if self._is_named:
                self._report(f"films are encoded by {SOFTWARE}: {reasons}")
        return answer.works or SOFTWARE


def _converted(answer: object) -> Converted:
    assert isinstance(answer, Made)
    return answer.converted
