"""Print the part of requirements.lock that an installation needs: no tool of development, every hash kept.

``runtime_lock.py EXTRA…``: the extras of pyproject.toml that are to be in it, too. Who needs a package stands in the
lock, below it (``# via``).
"""

import re
import sys
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_VIA = re.compile(r"^    #(?: via|  ) +([A-Za-z0-9][\w.-]*)", re.MULTILINE)


def needed(lock: str, names: Iterable[str]) -> str:
    """Return the entries of ``lock`` for ``names`` and for whatever these need, in its order.

    Raises:
        ValueError: one of ``names`` is not in it.
    """
    entries = list(_entries(lock))
    found = {_canonical(name) for name in names}
    if missing := found - {name for name, _ in entries}:
        raise ValueError(f"not in the lock: {', '.join(sorted(missing))}")
    while True:
        more = {
            name for name, text in entries if name not in found and found & set(map(_canonical, _VIA.findall(text)))
        }
        if not more:
            return "".join(text for name, text in entries if name in found)
        found |= more


def wanted(project: str, extras: Iterable[str]) -> list[str]:
    """Return the names of what pyproject.toml asks for, and of its ``extras``."""
    table = tomllib.loads(project)["project"]
    asked = [*table["dependencies"]]
    for extra in extras:
        asked += table["optional-dependencies"][extra]
    return [match[0] for match in map(_NAME.match, asked) if match]


def _entries(lock: str) -> Iterator[tuple[str, str]]:
    """Yield every entry with its canonical name; of a package that stands there twice, both."""
    for text in re.split(r"^(?=[A-Za-z0-9])", lock, flags=re.MULTILINE):
        if name := _NAME.match(text):
            yield _canonical(name[0]), text


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    sys.stdout.write(needed((ROOT / "requirements.lock").read_text("utf-8"), wanted(project, sys.argv[1:])))
