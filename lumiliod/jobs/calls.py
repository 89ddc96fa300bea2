"""What the engines of several processes tell each other by NOTIFY: short texts, hints that may be lost."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from uuid import UUID

from lumiliod.jobs.endings import Gathered

SETTINGS, LISTENS, MORE = "settings", "listens", "more"
PAYLOAD_BYTES = 7999
"""The longest payload of a notification (PostgreSQL, NOTIFY)."""

PART = 300
"""Tokens in one notification, which then has room for them."""


@dataclass(frozen=True, slots=True)
class Call:
    """Queues that got work; queues that got older work back; attempts that were taken away; changed settings.

    ``listens``: the process of the worker ``by`` wants to be told what ends elsewhere; ``gathered``: what ended in
    that worker's.
    """

    queues: "frozenset[str] | set[str]" = frozenset()
    again: "frozenset[str] | set[str]" = frozenset()
    tokens: frozenset[int] = frozenset()
    settings: bool = False
    listens: bool = False
    by: UUID | None = None
    gathered: Gathered = field(default_factory=Gathered)


def written(call: Call) -> str:
    """Return the payload that says ``call``."""
    words = [f"+{queue}" for queue in sorted(call.queues)]
    words += [f"^{queue}" for queue in sorted(call.again)]
    words += [f"-{token}" for token in sorted(call.tokens)]
    words += [f"={count} {kind}" for kind, count in sorted(call.gathered.completed.items())]
    words += [f"!{count} {kind}" for kind, count in sorted(call.gathered.discarded.items())]
    words += [f"#{asset_id.hex} {kind}" for asset_id, kind in call.gathered.assets.items()]
    if call.by is not None:
        words.append(f"@{call.by.hex}")
    for is_so, word in ((call.settings, SETTINGS), (call.listens, LISTENS), (not call.gathered.is_whole, MORE)):
        if is_so:
            words.append(word)
    return "\n".join(words)


def read(payload: str) -> Call | None:
    """Return what a payload says; None when it says nothing, which means that something may have been missed."""
    words = payload.splitlines()
    said: dict[str, list[str]] = {}
    for word in words:
        said.setdefault(word[:1], []).append(word[1:])
    if not words:
        return None
    return Call(
        frozenset(said.get("+", ())),
        frozenset(said.get("^", ())),
        frozenset(int(token) for token in said.get("-", ()) if token.isdecimal()),
        SETTINGS in words,
        LISTENS in words,
        next((UUID(one) for one in said.get("@", ()) if _is_id(one)), None),
        Gathered(
            Counter(dict(_counts(said.get("=", ())))),
            Counter(dict(_counts(said.get("!", ())))),
            dict(_assets(said.get("#", ()))),
            MORE not in words,
        ),
    )


def _counts(words: Iterable[str]) -> Iterator[tuple[str, int]]:
    for word in words:
        count, _, kind = word.partition(" ")
        if count.isdecimal():
            yield kind, int(count)


def _assets(words: Iterable[str]) -> Iterator[tuple[UUID, str]]:
    for word in words:
        asset_id, _, kind = word.partition(" ")
        if _is_id(asset_id):
            yield UUID(asset_id), kind


def _is_id(text: str) -> bool:
    return len(text) == 32 and all(letter in "0123456789abcdef" for letter in text)


def parts(call: Call) -> Iterator[Call]:
    """Split a call with many tokens into ones that fit a notification."""
    tokens = sorted(call.tokens)
    yield replace(call, tokens=frozenset(tokens[:PART]))
    for start in range(PART, len(tokens), PART):
        yield Call(tokens=frozenset(tokens[start : start + PART]))
