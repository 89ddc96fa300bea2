"""Where a repository may lie: in a real folder of its own, with no other repository in it or around it."""

import os
import pwd
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path

from lumiliod.domain.errors import Conflict, Forbidden, NotFound, Shape
from lumiliod.domain.ids import shown
from lumiliod.storage import durable, marker

_NOT_FOR_FILES = ("/proc", "/sys", "/dev")
"""Where the kernel speaks; nobody mounts a disk there."""
_VOLATILE = "/run"
"""Gone with the next start, but for disks that desktops mount below it."""
_PSEUDO_TYPES = frozenset({
    "autofs", "binder", "binfmt_misc", "bpf", "cgroup", "cgroup2", "configfs", "debugfs", "devpts", "devtmpfs",
    "efivarfs", "fusectl", "hugetlbfs", "mqueue", "nsfs", "proc", "pstore", "rpc_pipefs", "securityfs", "selinuxfs",
    "sysfs", "tracefs",
})  # fmt: skip
_MEMORY_TYPES = frozenset({"tmpfs", "ramfs"})

BESIDE_MAX = 1000
"""Entries of a folder that are looked at for one that was renamed."""

_Place = tuple[int, int]


def checked(root: str, known_roots: Sequence[str], forbidden: Sequence[str]) -> str:
    """Return ``root`` in its normal form if a repository may be made there; blocks.

    Raises:
        LumilioError: as :func:`lumiliod.storage.repository.create`.
    """
    root = existing(root)
    real = _real(root, forbidden)
    if os.path.lexists(os.path.join(root, marker.NAME)):
        raise Conflict(f"{shown(root)} is a repository already", code="exists")
    _refuse_nested(root, real, known_roots)
    if not os.access(root, os.R_OK | os.W_OK | os.X_OK):
        raise Forbidden(f"cannot write in {root}: {_hindrance(root)}", code="root_not_writable")
    return root


def _hindrance(root: str) -> str:
    """Say why a folder cannot be written, and what would help."""
    with suppress(OSError):
        if os.statvfs(root).f_flag & os.ST_RDONLY:
            return (
                "it is read-only here. Where it is systemd that says so, let the daemon write there: "
                f"systemctl edit lumiliod.service, and in [Service] ReadWritePaths={root}"
            )
    try:
        user = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        user = str(os.geteuid())
    return f"the daemon's user {user} may not; it has to be let in by owner, group or access list (setfacl)"


def moved(root: str, known_roots: Sequence[str], forbidden: Sequence[str]) -> str:
    """Return the real path of a folder if a repository that lies there may be taken in; blocks.

    Args:
        root: an absolute path, maybe by way of links.
        known_roots: roots of other repositories.
        forbidden: folders that stay the daemon's own.

    Raises:
        LumilioError: as :func:`lumiliod.storage.repository.create`, but for what is there already.
    """
    root = existing(root)
    real = _real(root, forbidden)
    _refuse_nested(real, real, known_roots)
    return real


def beside(root: str, is_wanted: Callable[[str], bool]) -> str | None:
    """Return the first folder beside ``root`` that ``is_wanted``: where a rename may have put it; None without one."""
    above = os.path.dirname(root)
    try:
        with os.scandir(above) as entries:
            folders = [entry.path for entry in islice(entries, BESIDE_MAX) if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return None
    return next((folder for folder in sorted(folders) if folder != root and is_wanted(folder)), None)


def _real(root: str, forbidden: Sequence[str]) -> str:
    real = os.path.realpath(root)
    _refuse_pseudo(root, real)
    for folder in forbidden:
        if folder and _holds(folder, real):
            raise Shape(f"{root} lies in the daemon's own folder {shown(folder)}", code="bad_root")
    return real


def existing(root: str) -> str:
    """Return an absolute path in its normal form if it is one of a folder; blocks.

    Raises:
        Shape: it is not absolute UTF-8 (``bad_root``), or no folder's (``root_not_a_folder``).
        NotFound: nothing is there (``root_missing``). Forbidden: we may not look (``root_not_writable``).
    """
    try:
        root.encode()
    except UnicodeEncodeError as error:
        raise Shape(f"{root!a} is not valid UTF-8", code="bad_root") from error
    if not root.startswith("/") or "\0" in root:
        raise Shape("a repository's folder is given by its absolute path", code="bad_root")
    root = os.path.normpath(root)
    try:
        found = os.stat(root)  # noqa: PTH116
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotFound(f"there is no folder {root}", code="root_missing") from error
    except OSError as error:
        raise Forbidden(f"cannot read {root}: {error.strerror}", code="root_not_writable") from error
    if not stat.S_ISDIR(found.st_mode):
        raise Shape(f"{root} is not a folder", code="root_not_a_folder")
    return root


def _refuse_pseudo(root: str, real: str) -> None:
    type_ = _file_system(real)
    is_volatile = _is_below(real, _VOLATILE) and (type_ in _MEMORY_TYPES or _device(real) == _device(_VOLATILE))
    if (
        real == "/"
        or type_ in _PSEUDO_TYPES
        or is_volatile
        or any(_is_below(real, folder) for folder in _NOT_FOR_FILES)
    ):
        raise Shape(f"{root} is no place for files that should stay", code="bad_root")


def _refuse_nested(root: str, real: str, known_roots: Sequence[str]) -> None:
    for start in {root, real}:
        for above in _above(start):
            if os.path.lexists(os.path.join(above, marker.NAME)):
                raise Shape(f"{root} lies inside the repository {shown(above)}", code="nested_root")
    for known in known_roots:
        is_inside, is_around = _holds(known, real), _holds(real, known)
        if is_inside and is_around:
            raise Conflict(f"{root} is the root of a known repository", code="exists")
        if is_inside:
            raise Shape(f"{root} lies inside the repository {shown(known)}", code="nested_root")
        if is_around:
            raise Shape(f"{root} contains the repository {shown(known)}", code="nested_root")
    with durable.translated("read", root), os.scandir(root) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False) and os.path.lexists(os.path.join(entry.path, marker.NAME)):
                raise Shape(f"{root} contains the repository {shown(entry.path)}", code="nested_root")


def _holds(folder: str, path: str) -> bool:
    """Tell whether ``path`` is ``folder`` or lies in it, by whatever links and mounts; it need not exist."""
    folder, path = os.path.realpath(folder), os.path.realpath(path)
    place = _place(folder)
    return _is_below(path, folder) or (
        place is not None and place in {_place(above) for above in (path, *_above(path))}
    )


def _is_below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def _above(path: str) -> Iterator[str]:
    """Yield the folders around ``path``, innermost first."""
    while path != os.path.dirname(path):
        path = os.path.dirname(path)
        yield path


def _place(path: str) -> _Place | None:
    """Return what a folder is, whatever its name."""
    try:
        found = os.stat(path)  # noqa: PTH116
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _device(path: str) -> int | None:
    place = _place(path)
    return place and place[0]


def _file_system(path: str) -> str | None:
    """Return the type of the file system a path lies on, where mountinfo knows its device (proc_pid_mountinfo(5))."""
    device = _device(path)
    if device is None:
        return None
    wanted = f"{os.major(device)}:{os.minor(device)}".encode()
    try:
        with Path("/proc/self/mountinfo").open("rb") as mounts:
            for line in mounts:
                fields = line.split()
                if fields[2] == wanted:
                    return fields[fields.index(b"-") + 1].decode("ascii", "replace")
    except OSError:
        return None
    return None
