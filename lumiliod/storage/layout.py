"""The contract of layouts: where in the inbox an original goes. Pure."""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, runtime_checkable

from lumiliod import plugins
from lumiliod.domain.errors import ConfigError
from lumiliod.domain.ids import Digest, RepoPath

GROUP = "lumilio.layout"


@dataclass(frozen=True, slots=True)
class Placing:
    """What a layout may know of an original.

    ``filename`` is what the person called it, unchecked; ``extension`` the usual one of its
    content, with the dot; ``taken_local`` the wall clock where it was made, without a zone.
    """

    filename: str
    extension: str
    digest: Digest
    taken_local: datetime


@runtime_checkable
class Layout(Protocol):
    """Decide where in the inbox an original goes."""

    @property
    def name(self) -> str:
        """The word ``storage_strategy`` knows it by."""
        ...

    def place(self, item: Placing) -> RepoPath:
        """Return the place of ``item`` below ``inbox/``: always the same for the same item, no I/O."""
        ...


def named(name: str) -> Layout:
    """Return the layout plugin ``name``.

    Raises:
        ConfigError: it is not installed, broken or no layout.
    """
    factory = plugins.load(GROUP, name)
    layout = factory() if callable(factory) else factory
    if not isinstance(layout, Layout):
        raise ConfigError(f"plugin '{name}' for {GROUP} is not a layout", code="plugin_broken", group=GROUP, name=name)
    return layout
