"""Named queries: ``noun.sql`` beside ``noun.py``, blocks headed ``-- name: what``."""

import re
from pathlib import Path
from typing import Any, LiteralString

_HEAD = re.compile(r"^-- name:[ \t]*(\w+)[ \t]*$", re.MULTILINE)


class Queries:
    """The queries of one ``.sql`` file, by name: ``Q = Queries(__file__); conn.execute(Q["claim"], {...})``."""

    def __init__(self, module_file: str) -> None:
        self.path = Path(module_file).with_suffix(".sql")
        parts = _HEAD.split(self.path.read_text(encoding="utf-8"))
        if parts[0].strip():
            raise ValueError(f"{self.path.name}: text before the first '-- name:'")
        # what is read from our own package is as literal as what is written in it
        self._texts: dict[str, Any] = {name: body.strip() for name, body in zip(parts[1::2], parts[2::2], strict=True)}

    def __getitem__(self, name: str) -> LiteralString:
        """Return the text of query ``name``."""
        text: LiteralString = self._texts[name]
        return text

    def names(self) -> list[str]:
        """Return all names, in the order of the file."""
        return list(self._texts)
