"""The command palette: every verb, found by what it is called."""

from collections.abc import Callable
from functools import partial
from typing import Protocol, cast, runtime_checkable

from textual.command import DiscoveryHit, Hit, Hits, Provider

from lumilio_tui.desk import Verb


@runtime_checkable
class Doing(Protocol):
    """An application that knows verbs."""

    def verbs(self) -> list[Verb]:
        """Return what can be done now."""
        ...

    def do(self, verb: Verb) -> None:
        """Do it."""
        ...


class Verbs(Provider):
    """What can be done now, wherever the person is."""

    async def discover(self) -> Hits:
        """Yield every verb."""
        for verb, run, told in self._known():
            yield DiscoveryHit(verb.name, run, text=verb.name, help=told)

    async def search(self, query: str) -> Hits:
        """Yield the verbs that are called something like ``query``."""
        matcher = self.matcher(query)
        for verb, run, told in self._known():
            if (score := matcher.match(verb.name)) > 0:
                yield Hit(score, matcher.highlight(verb.name), run, text=verb.name, help=told)

    def _known(self) -> list[tuple[Verb, Callable[[], None], str]]:
        doing = cast(Doing, self.app)
        return [
            (verb, partial(doing.do, verb), verb.help + (f"  ({verb.keys})" if verb.keys else ""))
            for verb in doing.verbs()
        ]
