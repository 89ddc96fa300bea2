"""What a person types to see some jobs: ``state:discarded kind:thumbnails``, or the words alone."""

from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID

from lumiliod.contract.jobs import JobSelection

STATES = ("available", "scheduled", "running", "retryable", "completed", "cancelled", "discarded")
FIELDS = ("state", "kind", "queue", "cause", "repository", "asset", "tag")
SHORT = {"repo": "repository", "failed": "discarded", "dead": "discarded", "waiting": "available", "done": "completed"}


class NotUnderstood(ValueError):
    """The filter means nothing; the message says why."""


@dataclass(frozen=True)
class JobWanted:
    """Which jobs are shown; everything given must hold."""

    state: str | None = None
    kind: str | None = None
    queue: str | None = None
    cause: str | None = None
    repository: str | None = None
    asset: UUID | None = None
    tag: str | None = None

    @property
    def query(self) -> dict[str, Any]:
        """Return what is given."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    def selection(self, *, dry_run: bool = False) -> JobSelection:
        """Return these jobs as what something is done to."""
        return JobSelection(**self.query, all=not self.query, dry_run=dry_run)


def parse(text: str, *, kinds: set[str], queues: set[str]) -> JobWanted:
    """Read a filter; a word alone is a state, a kind or a queue that is known, else a reason.

    Raises:
        NotUnderstood: an unknown field or state, or something that is no id.
    """
    found: dict[str, Any] = {}
    for word in text.split():
        name, colon, value = word.partition(":")
        name = SHORT.get(name, name)
        if not colon or name not in FIELDS:
            if colon and name.isalpha() and "." not in name and name not in kinds:
                raise NotUnderstood(f"There is no field {name}; there are {', '.join(FIELDS)}.")
            value, name = word, _field(word, kinds, queues)
        value = SHORT.get(value, value) if name == "state" else value
        if name == "state" and value not in STATES:
            raise NotUnderstood(f"There is no state {value}; there are {', '.join(STATES)}.")
        if name == "asset":
            try:
                found[name] = UUID(value)
            except ValueError:
                raise NotUnderstood(f"{value} is no id of an asset.") from None
        else:
            found[name] = value
    return JobWanted(**found)


def _field(word: str, kinds: set[str], queues: set[str]) -> str:
    if SHORT.get(word, word) in STATES:
        return "state"
    if word in kinds:
        return "kind"
    return "queue" if word in queues else "cause"
