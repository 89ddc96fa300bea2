"""Whether a file is still being written, as far as the system tells; blocking, briefly."""

import fcntl
import os
import signal
import time

SETTLED_S = 2.0
"""How long ago a file was changed last when that alone tells."""


def is_being_written(fd: int) -> bool:
    """Tell whether anybody has the file open for writing, ``fd`` being open for reading only.

    A lease for reading is granted only where nobody has (fcntl(2)). Where none is given, as for files of
    others or on a network, a file counts as written once its last change is ``SETTLED_S`` ago.

    Raises:
        OSError: its state cannot be told.
    """
    try:
        # whoever opens it for writing in this moment has us told by a signal: one that nobody minds, for SIGIO ends us
        fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except BlockingIOError:
        return True
    except OSError:
        return 0 <= time.time() - os.fstat(fd).st_mtime < SETTLED_S
    fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return False
