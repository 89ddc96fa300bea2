"""Files of a folder, one after the other: whatever is wrong with one keeps no other."""

import logging
from collections.abc import Callable, Iterable
from uuid import UUID

from lumiliod.domain.errors import BAD_DATA, LumilioError, Unavailable
from lumiliod.storage import durable

log = logging.getLogger(__name__)


def each(action: str, ids: Iterable[UUID], act: Callable[[UUID], None]) -> None:
    """Do something with each; one with which it cannot be done is left as it is, and logged.

    Args:
        action: a verb phrase for people.
        ids: the ids of files.
        act: what to do.

    Raises:
        Unavailable: the disk failed with one, the first of them; the others had their turn.
    """
    failed: Unavailable | None = None
    for id_ in ids:
        try:
            with durable.translated(action, str(id_), writing=True):
                act(id_)
        except Unavailable as error:
            failed = failed or error
        except LumilioError as error:
            log.warning("a file is passed over", extra={"file": str(id_), "code": error.code, "reason": error.message})
        except BAD_DATA as error:
            log.warning("a file is passed over", extra={"file": str(id_), "code": "bad_data", "reason": str(error)})
    if failed is not None:
        raise failed
