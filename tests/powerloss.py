"""What a power failure leaves of a folder: what was forced to the disk, and nothing else.

A strict reading of POSIX, harsher than any journal: what was not forced may be there or not. The bytes of a
file are those of its last fsync(2), or all of them; the names in a folder those of the last fsync(2) of that folder, or
of any moment since, each folder for itself, so that a rename whose two folders were not both forced may leave both
names; but never none: a file system without a journal (ext2) is the only one that can end so. What becomes of what is
drawn by lot; ``LUMILIO_LOT`` draws the same again. Source of the model: "All File Systems Are Not Created Equal",
Pillai et al., OSDI 2014, section 2 and table 1.

:func:`watch` follows what this process does below one folder; :func:`lose` makes it so, just before the process
ends itself. Not modelled: what the database had not flushed, what worker processes wrote (nothing of theirs is
relied on), and bytes written in place over older ones.
"""

import os
import random
import secrets
import stat
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

_Key = tuple[int, int]
"""Device and inode."""


@dataclass
class _Dirty:
    """A file whose last bytes were not forced: a descriptor of it, and the size that was."""

    fd: int
    size_bytes: int


@dataclass
class _Change:
    """One name that came to a folder or left it: the folder's descriptor, and another name of what bore it before.

    ``left`` is how a file that was renamed to this name left its old one.
    """

    folder: int
    name: str
    keeper: str | None
    left: "_Change | None" = None
    is_undone: bool = False

    @property
    def path(self) -> str:
        return f"/proc/self/fd/{self.folder}/{self.name}"


@dataclass
class _World:
    root: str
    keep: str
    files: dict[_Key, _Dirty] = field(default_factory=dict[_Key, _Dirty])
    folders: dict[_Key, list[_Change]] = field(default_factory=dict[_Key, list[_Change]])
    step: Callable[[], None] = lambda: None
    lock: threading.Lock = field(default_factory=threading.Lock)


_world: _World | None = None
quiet = threading.local()
"""Has ``is_set`` while calls are made that are none of the process under test."""

_COUNTED = frozenset({"rename", "link", "unlink", "remove", "mkdir", "rmdir"})
_os = {name: getattr(os, name) for name in ("open", "rename", "link", "unlink", "ftruncate")}


def watch(root: str, durable: Any, step: Callable[[], None]) -> None:
    """Follow what happens below ``root`` from now on, in this process.

    Args:
        root: the folder.
        durable: the module that renames by renameat2(2).
        step: told before every call that changes names.
    """
    global _world
    keep = f"{root}.kept-{secrets.token_hex(4)}"
    os.mkdir(keep)
    _world = _World(os.path.realpath(root), keep, step=step)
    for name, around in (
        ("write", _write), ("fsync", _sync), ("fdatasync", _sync), ("open", _open), ("rename", _rename),
        ("link", _link), ("unlink", _unlink), ("remove", _unlink), ("mkdir", _mkdir), ("rmdir", _rmdir),
    ):  # fmt: skip
        setattr(os, name, _around(name, getattr(os, name), around))
    durable._renameat2 = _around("renameat2", durable._renameat2, _renameat2)


def lose() -> None:
    """Undo whatever was not forced. The process has to end then."""
    assert _world is not None
    quiet.is_set = True
    _world.lock.acquire()  # for ever: nothing happens any more
    lot = os.environ.get("LUMILIO_LOT") or secrets.token_hex(4)
    print(f"the power fails below {_world.root}, lot {lot}", flush=True)
    rng = random.Random(lot)
    undone: list[_Change] = []
    for found in _world.folders.values():
        kept = rng.choice((0, rng.randrange(len(found) + 1), len(found)))
        undone += reversed(found[kept:])
    for change in undone:
        _restore(change, _world.keep)
    for change in undone:
        if (left := change.left) is not None and not left.is_undone and not os.path.lexists(left.path):
            _restore(left, _world.keep)
    for dirty in _world.files.values():
        if rng.random() < 0.5:
            _os["ftruncate"](dirty.fd, dirty.size_bytes)


def _restore(change: _Change, keep: str) -> None:
    path, change.is_undone = change.path, True
    if os.path.lexists(path):
        # whoever bears the name now did not bear it then
        _os["rename"](path, os.path.join(keep, secrets.token_hex(8)))
    if change.keeper is None:
        return
    if os.path.isdir(change.keeper):
        _os["rename"](change.keeper, path)
    else:
        _os["link"](change.keeper, path, follow_symlinks=False)


def _around(name: str, call: Callable[..., Any], around: Callable[..., Any]) -> Callable[..., Any]:
    def watched(*args: Any, **kwargs: Any) -> Any:
        assert _world is not None
        if getattr(quiet, "is_set", False):
            return call(*args, **kwargs)
        if name in _COUNTED or (name == "open" and args[1] & os.O_CREAT):
            _world.step()
        with _world.lock:
            quiet.is_set = True
            try:
                return around(call, *args, **kwargs)
            finally:
                quiet.is_set = False

    return watched


def _place(path: Any, dir_fd: int | None) -> tuple[str, str] | None:
    """Return folder and name of a path, None when it is none of ours."""
    assert _world is not None
    if isinstance(path, int):
        return None
    text = os.fsdecode(path)
    if not os.path.isabs(text):
        text = os.path.join(os.readlink(f"/proc/self/fd/{dir_fd}") if dir_fd is not None else os.getcwd(), text)
    folder, name = os.path.split(text)
    folder = os.path.realpath(folder)
    return (folder, name) if folder == _world.root or folder.startswith(f"{_world.root}/") else None


def _note(
    place: tuple[str, str] | None, act: Callable[[], Any], noted: Callable[[_Change], None] = lambda change: None
) -> Any:
    """Do something to a name, and remember what bore it before."""
    assert _world is not None
    if place is None:
        return act()
    folder, name = place
    keeper = None
    path = os.path.join(folder, name)
    if os.path.lexists(path) and not os.path.isdir(path):
        keeper = os.path.join(_world.keep, secrets.token_hex(8))
        _os["link"](path, keeper, follow_symlinks=False)
    try:
        done = act()
    except BaseException:
        if keeper is not None:
            _os["unlink"](keeper)
        raise
    if done is False:
        return done  # renameat2(2) is not supported here: what stands in for it is watched itself
    fd = _os["open"](folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    of = os.fstat(fd)
    change = _Change(fd, name, keeper)
    _world.folders.setdefault((of.st_dev, of.st_ino), []).append(change)
    noted(change)
    return done


def _open(call: Callable[..., Any], path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
    assert _world is not None
    place = _place(path, dir_fd) if flags & os.O_CREAT else None
    if place is None or os.path.lexists(os.path.join(*place)):
        fd: int = call(path, flags, mode, dir_fd=dir_fd)
    else:
        fd = _note(place, lambda: call(path, flags, mode, dir_fd=dir_fd))
    return fd


def _write(call: Callable[..., Any], fd: int, data: Any) -> int:
    assert _world is not None
    found = os.fstat(fd)
    key = (found.st_dev, found.st_ino)
    if stat.S_ISREG(found.st_mode) and key not in _world.files and _is_ours(fd):
        _world.files[key] = _Dirty(os.dup(fd), found.st_size)
    written: int = call(fd, data)
    return written


def _is_ours(fd: int) -> bool:
    assert _world is not None
    return bool(os.readlink(f"/proc/self/fd/{fd}").startswith(f"{_world.root}/"))


def _sync(call: Callable[..., Any], fd: int) -> None:
    assert _world is not None
    call(fd)
    found = os.fstat(fd)
    key = (found.st_dev, found.st_ino)
    if dirty := _world.files.pop(key, None):
        os.close(dirty.fd)
    # the changes keep their descriptors: another one may refer to them
    _world.folders.pop(key, None)


def _rename(
    call: Callable[..., Any], source: Any, target: Any, *, src_dir_fd: int | None = None, dst_dir_fd: int | None = None
) -> None:
    def act() -> None:
        call(source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

    _moved(_place(source, src_dir_fd), _place(target, dst_dir_fd), act)


def _renameat2(
    call: Callable[..., Any], source: str, target: str, source_fd: int | None, target_fd: int | None
) -> bool:
    def act() -> bool:
        return bool(call(source, target, source_fd, target_fd))

    return bool(_moved(_place(source, source_fd), _place(target, target_fd), act))


def _moved(source: tuple[str, str] | None, target: tuple[str, str] | None, act: Callable[[], Any]) -> Any:
    left: list[_Change] = []

    def came(change: _Change) -> None:
        change.left = left[0] if left else None

    return _note(target, lambda: _note(source, act, left.append), came)


def _link(
    call: Callable[..., Any],
    source: Any,
    target: Any,
    *,
    src_dir_fd: int | None = None,
    dst_dir_fd: int | None = None,
    follow_symlinks: bool = True,
) -> None:
    def act() -> None:
        call(source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd, follow_symlinks=follow_symlinks)

    _note(_place(target, dst_dir_fd), act)


def _unlink(call: Callable[..., Any], path: Any, *, dir_fd: int | None = None) -> None:
    _note(_place(path, dir_fd), lambda: call(path, dir_fd=dir_fd))


def _mkdir(call: Callable[..., Any], path: Any, mode: int = 0o777, *, dir_fd: int | None = None) -> None:
    _note(_place(path, dir_fd), lambda: call(path, mode, dir_fd=dir_fd))


def _rmdir(call: Callable[..., Any], path: Any, *, dir_fd: int | None = None) -> None:
    """Put an empty folder where it can come back from."""
    assert _world is not None
    place = _place(path, dir_fd)
    if place is None or os.listdir(os.path.join(*place)):
        call(path, dir_fd=dir_fd)
        return
    folder, name = place
    keeper = os.path.join(_world.keep, secrets.token_hex(8))
    fd = _os["open"](folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    _os["rename"](os.path.join(folder, name), keeper)
    of = os.fstat(fd)
    _world.folders.setdefault((of.st_dev, of.st_ino), []).append(_Change(fd, name, keeper))
