"""What a person has given to assets, and whether it stays with their bytes."""

import random
from dataclasses import dataclass
from typing import Any

import psycopg

KEPT_MAX = 300
GIVEN_AT_ONCE = 8

# the interface has no way yet to say these
_GIVE = """
UPDATE assets SET rating = %(rating)s, liked = %(liked)s, description = %(description)s
WHERE digest = decode(%(digest)s, 'hex') AND description IS NULL AND deleted_at IS NULL"""

_KEPT = """
SELECT description, encode(digest, 'hex'), rating, liked, deleted_at IS NOT NULL FROM assets
WHERE description LIKE 'kept %%'"""


@dataclass(slots=True)
class _Given:
    digest: str | None
    """None once those bytes lay nowhere for a moment: whether they were seen as gone is chance."""
    rating: int
    liked: bool


class Relations:
    """Ratings, likes and descriptions, each with a word of its own."""

    def __init__(self, conn: "psycopg.Connection[Any]", rng: random.Random) -> None:
        self.conn = conn
        self._rng = rng
        self._given: dict[str, _Given] = {}
        self._number = 0
        self.checked = 0

    def give(self, digests: set[str], count: int = GIVEN_AT_ONCE) -> None:
        """Give something to a few assets that have these bytes, and nothing yet."""
        for digest in self._rng.sample(sorted(digests), min(count, len(digests))):
            self._number += 1
            word, given = f"kept {self._number}", _Given(digest, self._rng.randint(1, 5), self._rng.random() < 0.5)
            wanted = {"rating": given.rating, "liked": given.liked, "description": word, "digest": digest}
            if self.conn.execute(_GIVE, wanted).rowcount:
                self._given[word] = given

    def differences(self, lost: set[str]) -> list[str]:
        """Return what did not stay where it belongs; ``lost`` are digests that lay nowhere since it was asked last.

        What such an asset had stays with it, in the library or in the trash: as it is, or with the bytes that took
        their place.
        """
        for given in self._given.values():
            if given.digest in lost:
                given.digest = None
        told: list[str] = []
        found: dict[str, list[tuple[str, int, bool, bool]]] = {}
        for word, *rest in self.conn.execute(_KEPT):
            found.setdefault(word, []).append(tuple(rest))
        for word, given in self._given.items():
            self.checked += 1
            rows = found.get(word, [])
            if len(rows) != 1:
                told.append(f"relation: {len(rows)} assets have {word}")
                continue
            digest, rating, liked, is_deleted = rows[0]
            if (rating, liked) != (given.rating, given.liked):
                told.append(f"relation: {word} was changed")
            if given.digest is not None and (digest != given.digest or is_deleted):
                told.append(f"relation: {word} of {given.digest[:8]} is with {digest[:8]}, deleted: {is_deleted}")
        return told

    def trim(self) -> None:
        """Forget the oldest, so that asking stays cheap."""
        for word in list(self._given)[:-KEPT_MAX]:
            del self._given[word]
            self.conn.execute("UPDATE assets SET description = NULL WHERE description = %s", (word,))
