"""Files of repositories, opened to be sent."""

import datetime as dt
import errno
import os
from typing import BinaryIO

from lumiliod.domain.errors import NotFound, Permanent, Shape, Unavailable
from lumiliod.storage import local
from lumiliod.storage.repository import Repository, check_identity

_ABSENT = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO})
_LAST_S = dt.datetime(9999, 12, 31, tzinfo=dt.UTC).timestamp()


def open_file(repo: Repository, path: str, code: str) -> BinaryIO:
    """Open a plain file of a repository, following no link below its root.

    Raises:
        NotFound: none is there (``code``). Unavailable: the repository is offline, or the disk fails.
    """
    try:
        return os.fdopen(local.open_below(repo.root, path), "rb", buffering=0)
    except (Permanent, Shape) as error:  # a link, or something else in its place
        raise NotFound("the file is not where it was", code=code) from error
    except OSError as error:
        check_identity(repo)
        if error.errno in _ABSENT:
            raise NotFound("the file is not where it was", code=code) from error
        raise Unavailable(f"the file cannot be read: {error.strerror}", code="file_unreadable", after_s=10.0) from error


def modified(found: os.stat_result) -> dt.datetime:
    """Return when a file changed, within the years HTTP can tell."""
    return dt.datetime.fromtimestamp(min(max(found.st_mtime, 0.0), _LAST_S), dt.UTC)
