"""What the engines of several processes tell each other by NOTIFY: short texts, hints that may be lost."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

SETTINGS = "settings"
PART = 300
"""Tokens in one notification: its payload is limited to 8000 bytes (PostgreSQL, NOTIFY)."""


@dataclass(frozen=True, slots=True)
class Call:
    """Queues that got work; queues that got older work back; attempts that were taken away; changed settings."""

    queues: "frozenset[str] | set[str]" = frozenset()
    again: "frozenset[str] | set[str]" = frozenset()
    tokens: frozenset[int] = frozenset()
    settings: bool = False


def written(call: Call) -> str:
    """Return the payload that says ``call``."""
    words = [f"+{queue}" for queue in sorted(call.queues)]
    words += [f"^{queue}" for queue in sorted(call.again)]
    words += [f"-{token}" for token in sorted(call.tokens)]
    if call.settings:
        words.append(SETTINGS)
    return "\n".join(words)


def read(payload: str) -> Call | None:
    """Return what a payload says; None when it says nothing, which means that something may have been missed."""
    queues, again, tokens = set[str](), set[str](), set[int]()
    words = payload.splitlines()
    for word in words:
        if word.startswith("+"):
            queues.add(word[1:])
        elif word.startswith("^"):
            again.add(word[1:])
        elif word.startswith("-") and word[1:].isdecimal():
            tokens.add(int(word[1:]))
    return Call(queues, again, frozenset(tokens), SETTINGS in words) if words else None


def parts(call: Call) -> Iterator[Call]:
    """Split a call with many tokens into ones that fit a notification."""
    tokens = sorted(call.tokens)
    yield replace(call, tokens=frozenset(tokens[:PART]))
    for start in range(PART, len(tokens), PART):
        yield Call(tokens=frozenset(tokens[start : start + PART]))
