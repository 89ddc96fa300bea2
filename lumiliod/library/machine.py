"""Checks of the machine that need no database: folders, disks, the clock, limits. They block, and change nothing."""

import datetime as dt
import os
import platform
import shlex
import stat
from collections.abc import Iterator
from pathlib import Path

from lumiliod.config import Config
from lumiliod.contract.doctor import Check, CheckState
from lumiliod.domain.text import size_text

BUILT = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
"""Before that no machine runs this."""

WATCHES_LEAST = 65_536
"""What a home's folders need, and then some: each takes a watch."""

WATCHES_SHARE = 0.8
INODES_LEAST = 10_000


def of_machine(config: Config) -> list[Check]:
    """Check everything that the configuration and the kernel tell of."""
    return [
        _python(),
        *_folders(config),
        of_room("state folder", config.state_dir, config.storage.min_free_mb << 20),
        _date(),
        *_inotify(),
        _descriptors(),
    ]


def of_room(name: str, path: str, least_bytes: int) -> Check:
    """Check that a disk has room: ``least_bytes`` are kept free, and are not much."""
    try:
        found = os.statvfs(path)
    except OSError as error:
        why = f"{path} cannot be asked: {error.strerror}"
        return Check(area="disk", name=name, state="fail", told=why, fix="See to it that the disk is there.")
    free, size = found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize
    told = f"{size_text(free)} of {size_text(size)} are free at {path}"
    if free < least_bytes:
        fix = "Make room, or lower storage.min_free_mb: nothing is taken in while less than that is free."
        return Check(area="disk", name=name, state="fail", told=told, fix=fix)
    if found.f_files and found.f_favail < INODES_LEAST:
        told = f"{found.f_favail} more files fit on the disk of {path}"
        return Check(area="disk", name=name, state="warn", told=told, fix="Remove files nobody needs: inodes run out.")
    if free < 2 * least_bytes:
        return Check(area="disk", name=name, state="warn", told=told, fix="Make room before long.")
    return Check(area="disk", name=name, state="ok", told=told)


def of_clocks(ours: dt.datetime, databases: dt.datetime) -> Check:
    """Compare this clock with the database's."""
    apart_s = abs((ours - databases).total_seconds())
    told = f"the database's clock is {apart_s:.1f} s from this one"
    fix = None if apart_s < 5 else "Let both machines ask a time server (timedatectl set-ntp true)."
    return Check(area="clock", name="database's clock", state="warn" if fix else "ok", told=told, fix=fix)


def _python() -> Check:
    told = f"{platform.python_implementation()} {platform.python_version()} on {platform.system()} {platform.release()}"
    return Check(area="tools", name="python", state="ok", told=told)


def _folders(config: Config) -> Iterator[Check]:
    yield _folder("state folder", config.state_dir, is_private=True)
    socket_folder = os.path.dirname(config.server.socket)
    yield _folder("socket's folder", socket_folder, is_private=False)


def _folder(name: str, path: str, *, is_private: bool) -> Check:
    def check(state: CheckState, told: str, fix: str | None = None) -> Check:
        return Check(area="folders", name=name, state=state, told=told, fix=fix)

    try:
        found = os.stat(path)  # noqa: PTH116
    except OSError as error:
        return check(
            "fail", f"{path}: {error.strerror}", f"Make it, owned by who runs the daemon: mkdir -p {shlex.quote(path)}"
        )
    mode = stat.S_IMODE(found.st_mode)
    told = f"{path} belongs to user {found.st_uid}, mode {mode:04o}"
    if not stat.S_ISDIR(found.st_mode):
        return check("fail", f"{path} is no folder", "Move it away, or name another in the configuration.")
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        return check(
            "fail",
            f"{told}; user {os.geteuid()} may not write there",
            f"chown it: chown {os.geteuid()} {shlex.quote(path)}",
        )
    if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
        return check("warn", f"{told}: everybody may write there", f"chmod o-w {shlex.quote(path)}")
    if is_private and mode & stat.S_IWGRP:
        return check("warn", f"{told}: its group may write there", f"chmod g-w {shlex.quote(path)}")
    return check("ok", told)


def _date() -> Check:
    now = dt.datetime.now(dt.UTC)
    if now < BUILT:
        fix = "Set it (timedatectl set-time) or have it set by a time server: capture times and ages depend on it."
        return Check(area="clock", name="date", state="fail", told=f"it is {now:%Y-%m-%d}, which cannot be", fix=fix)
    return Check(area="clock", name="date", state="ok", told=f"it is {now:%Y-%m-%d %H:%M} UTC")


def _inotify() -> Iterator[Check]:
    most = _number("/proc/sys/fs/inotify/max_user_watches")
    used = _watches()
    if most is None:
        yield Check(
            area="limits", name="watches", state="ok", told=f"{used} folders are watched; the limit is not known"
        )
        return
    told = f"{used} folders are watched by this process, of {most} that a user may watch"
    fix = "Raise fs.inotify.max_user_watches: sysctl -w fs.inotify.max_user_watches=1048576, and in /etc/sysctl.d."
    is_little = most < WATCHES_LEAST or used > WATCHES_SHARE * most
    yield Check(
        area="limits", name="watches", state="warn" if is_little else "ok", told=told, fix=fix if is_little else None
    )
    instances = _number("/proc/sys/fs/inotify/max_user_instances")
    if instances is not None:
        is_few = instances < 16
        yield Check(
            area="limits",
            name="watch instances",
            state="warn" if is_few else "ok",
            told=f"a user may have {instances}; each repository takes one",
            fix="Raise fs.inotify.max_user_instances to 128." if is_few else None,
        )


def _descriptors() -> Check:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    told = f"{soft} files may be open at once"
    if soft != resource.RLIM_INFINITY and soft < 1024:
        fix = f"Raise the limit: LimitNOFILE= in the unit, or ulimit -n (at most {hard})."
        return Check(area="limits", name="open files", state="warn", told=told, fix=fix)
    return Check(area="limits", name="open files", state="ok", told=told)


def _watches() -> int:
    """Count the watches of this process (proc(5), fdinfo)."""
    count = 0
    try:
        for entry in Path("/proc/self/fdinfo").iterdir():
            try:
                if str(Path(f"/proc/self/fd/{entry.name}").readlink()) == "anon_inode:inotify":
                    count += entry.read_text().count("inotify wd:")
            except OSError:
                continue
    except OSError:
        return 0
    return count


def _number(path: str) -> int | None:
    try:
        return int(Path(path).read_text())
    except (OSError, ValueError):
        return None
