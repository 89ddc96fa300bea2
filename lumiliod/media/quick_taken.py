"""The quick reading of the capture time, from tags read by a media worker."""

from collections.abc import Mapping
from datetime import UTC, datetime

from lumiliod.domain.media import Taken
from lumiliod.domain.taken import taken_from_tags


def quick_taken(tags: Mapping[str, str | int | float]) -> Taken | None:
    """Return the capture time the quick tags give, judged by the present clock."""
    return taken_from_tags(tags, datetime.now(UTC))
