"""The folders of a repository that are watched, as they come and go; blocking, for a thread.

Each folder has a watch of its own, and none is placed where a walk does not go: our own folders, names that are left
out, another repository. So what happens there wakes nobody and takes nothing of the system's limit.
"""

import errno
import os
from contextlib import suppress
from pathlib import Path

from lumiliod.domain.errors import Unavailable
from lumiliod.domain.ignore import IgnoreRule
from lumiliod.storage import durable
from lumiliod.watch import inotify
from lumiliod.watch.changes import Changes
from lumiliod.watch.inotify import Event, Inotify
from lumiliod.watch.walk import MARKER, OUR_NAMES, is_inbox

WATCHES, INSTANCES = "fs.inotify.max_user_watches", "fs.inotify.max_user_instances"


class Tree:
    """The watches on a repository: :meth:`open`, then :meth:`take` whenever it is readable, :meth:`close` at the end.

    Args:
        root: the repository's.
        rule: which names are left out.
        own_folder: the daemon's state folder, which may lie below the root.
    """

    def __init__(self, root: str, rule: IgnoreRule, own_folder: str = "") -> None:
        self._root = os.fsencode(root).rstrip(b"/") + b"/"
        self._rule = rule
        self._own = os.path.realpath(os.fsencode(own_folder)) if own_folder else None
        self._events: Inotify | None = None
        self._prefixes: dict[int, bytes] = {}
        self._watches: dict[bytes, int] = {}

    def __len__(self) -> int:
        """Return how many folders are watched."""
        return len(self._watches)

    def open(self) -> None:
        """Watch every folder there is.

        Raises:
            Unavailable: the system allows no more watches (``watch_limit``, ``sysctl`` says which limit), or the root
                cannot be watched (``watch_failed``).
        """
        try:
            self._events = Inotify()
        except OSError as error:
            raise _refused(error) from error
        self._place(b"")

    def fileno(self) -> int:
        """Return the descriptor that is readable when something happened."""
        assert self._events is not None
        return self._events.fileno()

    def close(self) -> None:
        """Give up all watches."""
        if self._events is not None:
            self._events.close()

    def take(self) -> Changes:
        """Follow what happened, with watches on folders that came; return where to look.

        Raises:
            Unavailable: as of :meth:`open`.
        """
        assert self._events is not None
        changes = Changes()
        for event in self._events.read():
            self._follow(event, changes)
        return changes

    def _follow(self, event: Event, changes: Changes) -> None:
        mask, prefix = event.mask, self._prefixes.get(event.watch)
        if mask & inotify.Q_OVERFLOW:
            changes.is_lost = True
        elif prefix is None:
            return
        elif not event.name:
            self._follow_itself(event.watch, prefix, mask, changes)
        elif self._is_left_out(prefix, event.name):
            return
        elif not mask & inotify.ISDIR:
            changes.flat.add(prefix)
        else:
            self._follow_folder(prefix + event.name + b"/", mask, changes)

    def _follow_itself(self, watch: int, prefix: bytes, mask: int, changes: Changes) -> None:
        if mask & inotify.IGNORED:
            self._forget(watch)
        if not mask & (inotify.IGNORED | inotify.UNMOUNT | inotify.DELETE_SELF | inotify.MOVE_SELF):
            return
        if not prefix:
            changes.is_lost = True
        elif mask & inotify.UNMOUNT:
            changes.deep.add(prefix)

    def _follow_folder(self, prefix: bytes, mask: int, changes: Changes) -> None:
        if mask & (inotify.MOVED_FROM | inotify.DELETE):
            self._drop(prefix)
            # another may have come to its place, by an event that was before this one where two changed places
            self._place(prefix)
            changes.deep.add(prefix)
        elif mask & (inotify.MOVED_TO | inotify.CREATE):
            self._place(prefix)
            changes.deep.add(prefix)
        elif mask & inotify.ATTRIB and prefix not in self._watches:
            self._place(prefix)
            if prefix in self._watches:
                changes.deep.add(prefix)

    def _place(self, first: bytes) -> None:
        """Watch a folder and those below it. The watch comes before the look: what is made meanwhile is told."""
        assert self._events is not None
        waiting = [first]
        while waiting:
            durable.check_cancelled()
            prefix = waiting.pop()
            path = self._root + prefix
            if prefix and (os.path.lexists(path + MARKER) or self._is_own(path)):
                continue
            try:
                watch = self._events.add(path, itself=not prefix, follow=not prefix)
            except OSError as error:
                if error.errno in {errno.ENOSPC, errno.ENOMEM} or not prefix:
                    raise _refused(error) from error
                continue
            known = self._prefixes.get(watch)
            if known == prefix or (known is not None and self._is_same(known, prefix)):
                # by another name of it, which is told
                continue
            if known is not None:
                # by a name that it had: what is told of a folder by that name is told of no other
                self._drop(known)
                waiting.append(prefix)
                continue
            if prefix in self._watches:
                self._drop(prefix)
            self._prefixes[watch], self._watches[prefix] = prefix, watch
            with suppress(OSError), os.scandir(path) as entries:
                waiting += [
                    prefix + entry.name + b"/"
                    for entry in entries
                    if entry.is_dir(follow_symlinks=False) and not self._is_left_out(prefix, entry.name)
                ]

    def _drop(self, prefix: bytes) -> None:
        """Watch a folder and those below it no longer: where they are now they have other names."""
        assert self._events is not None
        if prefix not in self._watches:
            return
        for gone in [one for one in self._watches if one.startswith(prefix)]:
            watch = self._watches[gone]
            self._events.remove(watch)
            self._forget(watch)

    def _forget(self, watch: int) -> None:
        prefix = self._prefixes.pop(watch, None)
        if prefix is not None:
            del self._watches[prefix]

    def _is_same(self, one: bytes, other: bytes) -> bool:
        try:
            return os.path.samefile(self._root + one, self._root + other)  # noqa: PTH121  of bytes
        except OSError:
            return False

    def _is_left_out(self, prefix: bytes, name: bytes) -> bool:
        if not prefix and name in OUR_NAMES:
            return True
        return not is_inbox(prefix) and self._rule.reason(os.fsdecode(name)) is not None

    def _is_own(self, path: bytes) -> bool:
        return self._own is not None and os.path.realpath(path) == self._own


def limit(sysctl: str) -> str:
    """Return what a limit of the system is now; empty where it cannot be read. Blocks."""
    try:
        return Path("/proc/sys", *sysctl.split(".")).read_text().strip()
    except OSError:
        return ""


def _refused(error: OSError) -> Unavailable:
    sysctl = {errno.ENOSPC: WATCHES, errno.EMFILE: INSTANCES}.get(error.errno or 0)
    if sysctl is None:
        return Unavailable(f"the folders cannot be watched: {error.strerror}", code="watch_failed")
    message = f"the system allows no more watches: raise {sysctl}, which is {limit(sysctl) or 'not known'}"
    return Unavailable(message, code="watch_limit", sysctl=sysctl)
