"""``lumilio doctor``: what may keep the library from working, and what helps; with a daemon or without one."""

import ctypes
import grp
import os
import pwd
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress

import click
import msgspec

from lumiliod import __version__
from lumiliod.cli.output import print_json, visible
from lumiliod.cli.polling import progress
from lumiliod.cli.program import START, Command, Options
from lumiliod.contract.doctor import EXIT_STATUS, Check, CheckState, Checkup

GROUP = "lumilio-admin"
"""Its members may use the daemon's socket."""

TIME_ERROR = 5
"""adjtimex(2): the clock is not synchronised."""

LOOK_S = 120.0
CONNECT_S = 5.0

COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}


@click.command(cls=Command)
@click.option("--config", metavar="PATH", help="The daemon's configuration, for when it does not run.")
@click.option("--state-dir", metavar="PATH", help="The daemon's state folder, for when it does not run.")
@click.pass_obj
def doctor(options: Options, config: str | None, state_dir: str | None) -> int:
    """Look at what may keep the library from working.

    The exit status is 0 when all is well, 1 when something is lacking, 2 when something does not work.
    """
    with progress("Looking", hidden=options.json):
        reached = of_socket(options.socket)
        checks = [*_of_user(options.socket), _of_clock(), reached]
        if reached.state == "ok":
            checks += _of_daemon(options.socket)
        else:
            checks += _from_outside(config, state_dir)
    found = Checkup(checks=checks)
    if options.json:
        print_json(found)
    else:
        for line in lines(found):
            click.echo(line)
    return max(EXIT_STATUS[one.state] for one in checks)


def lines(found: Checkup) -> Iterator[str]:
    """Say what was found, a line each, with what helps below it, and how much of it is not as it should be."""
    for one in found.checks:
        state = click.style(f"{one.state:<4}", fg=COLOURS[one.state])
        yield f"{state}  {one.area}: {visible(one.name)}: {visible(one.told)}"
        if one.fix is not None:
            yield f"      {visible(one.fix)}"
    counts = {state: sum(one.state == state for one in found.checks) for state in EXIT_STATUS}
    yield f"{counts['ok']} ok, {counts['warn']} to look at, {counts['fail']} that do not work"


def of_socket(path: str) -> Check:
    """Check that a daemon answers on a socket, and that not everybody may use it."""

    def check(state: CheckState, told: str, fix: str | None = None) -> Check:
        return Check(area="socket", name="daemon", state=state, told=told, fix=fix)

    start = f"Start the daemon: {START}."
    try:
        found = os.stat(path)  # noqa: PTH116  as the person wrote it
    except FileNotFoundError:
        return check("fail", f"there is no socket {path}", start)
    except OSError as error:
        return check("fail", f"{path}: {error.strerror}", _permission())
    told = f"{path} belongs to {_user(found.st_uid)}:{_group(found.st_gid)}, mode {stat.S_IMODE(found.st_mode):04o}"
    if not stat.S_ISSOCK(found.st_mode):
        return check("fail", f"{path} is no socket", "Move it away, and start the daemon again.")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(CONNECT_S)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            return check("fail", f"nobody listens on {path}: a daemon that ended left it behind", start)
        except PermissionError:
            return check("fail", f"you may not use {told}", _permission())
        except OSError as error:
            return check("fail", f"{path} does not answer: {error.strerror or error}", "Restart the daemon.")
    if found.st_mode & stat.S_IWOTH:
        fix = "Set server.socket_mode = 0o660 in the configuration (SocketMode= in lumiliod.socket)."
        return check("warn", f"everybody may use {told}", fix)
    return check("ok", told)


def _of_user(path: str) -> Iterator[Check]:
    """Tell whether this user is one of the admins."""

    def check(state: CheckState, told: str, fix: str | None = None) -> Check:
        return Check(area="groups", name=GROUP, state=state, told=told, fix=fix)

    name, own = _user(os.geteuid()), {os.getegid(), *os.getgroups()}
    with suppress(OSError):
        if os.stat(path).st_uid == os.geteuid():  # noqa: PTH116
            yield check("ok", f"{name} is whom the socket belongs to")
            return
    if os.geteuid() == 0:
        yield check("ok", "root may do everything")
        return
    try:
        group = grp.getgrnam(GROUP)
    except KeyError:
        yield check("warn", f"there is no group {GROUP}", f"Make it: groupadd --system {GROUP}")
        return
    if group.gr_gid in own:
        yield check("ok", f"{name} is in it")
    elif name in group.gr_mem:
        yield check("warn", f"{name} is in it, but was not when this session began", "Sign out and in again.")
    else:
        yield check("warn", f"{name} is not in it", _permission())


def _of_clock() -> Check:
    """Tell whether a time server keeps the clock; here, since a service may be forbidden to ask."""
    is_kept = _synchronised()
    if is_kept is None:
        return Check(area="clock", name="time server", state="ok", told="the kernel does not tell whether one is asked")
    if is_kept:
        return Check(area="clock", name="time server", state="ok", told="the clock is kept by a time server")
    fix = "Let a time server do so: timedatectl set-ntp true"
    return Check(area="clock", name="time server", state="warn", told="nobody keeps the clock right", fix=fix)


def _synchronised() -> bool | None:
    """Tell whether the kernel's clock is disciplined (adjtimex(2)), None where it does not say."""
    adjtimex = getattr(ctypes.CDLL(None), "adjtimex", None)
    if adjtimex is None:
        return None
    # zeros only read; the structure is smaller than that on every machine we know
    state = int(adjtimex(ctypes.create_string_buffer(512)))
    return None if state < 0 else state != TIME_ERROR


def _of_daemon(path: str) -> list[Check]:
    from lumiliod.client import Client, ClientError

    try:
        with Client(path) as client:
            running, found = client.health().version, client.doctor().checks
    except ClientError as error:
        fix = "Restart the daemon; its log says more: journalctl -u lumiliod"
        return [Check(area="daemon", name="answer", state="fail", told=str(error), fix=fix)]
    if running == __version__:
        version = Check(area="daemon", name="version", state="ok", told=running)
    else:
        told = f"{running} runs, and this command is of {__version__}"
        version = Check(area="daemon", name="version", state="warn", told=told, fix="Restart the daemon.")
    return [version, *found]


def _from_outside(config: str | None, state_dir: str | None) -> list[Check]:
    """Have the daemon's program look, in a process of its own: no daemon can be asked."""
    # -P: whoever asks may stand in a folder of somebody else's modules
    command = [sys.executable, "-P", "-m", "lumiliod.daemon", "doctor", "--json"]
    for option, value in (("--config", config), ("--state-dir", state_dir)):
        command += [option, value] if value is not None else []
    try:
        done = subprocess.run(command, capture_output=True, timeout=LOOK_S, check=False, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired:
        return [_failed("it took too long", "See whether a disk hangs.")]
    except OSError as error:
        return [_failed(f"lumiliod cannot be started: {error.strerror}", "Install Lumilio anew.")]
    try:
        return msgspec.json.decode(done.stdout, type=Checkup).checks
    except msgspec.MsgspecError:
        said = done.stderr.decode(errors="backslashreplace").strip().splitlines()
        told = said[-1].removeprefix("lumiliod: ") if said else f"it ended with {done.returncode}"
        fix = "Put the configuration right (lumiliod config check), or ask as a user who may read it."
        return [_failed(told, fix)]


def _failed(told: str, fix: str) -> Check:
    return Check(area="daemon", name="examination", state="fail", told=told, fix=fix)


def _permission() -> str:
    return f"Join the group, and sign in again: sudo usermod -aG {GROUP} {_user(os.geteuid())}"


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def _group(number: int) -> str:
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)
