"""The notification protocol of systemd (sd_notify(3)): one datagram per message, no library needed."""

import logging
import os
import socket
import time

import trio

from lumiliod.runtime import HealthBoard

log = logging.getLogger(__name__)

LINE_MAX = 900
"""Characters of a status: systemd passes over a whole message of more than 4096 bytes, with what else it says."""

EXTEND_PERIOD_S, EXTEND_BY_S = 10.0, 60.0
"""While it starts and turns its loop the daemon asks for more time: a database may recover for minutes."""


def notify(message: str) -> bool:
    """Send ``message`` to the service manager; False when there is none. Never raises for a missing one."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return False
    if address.startswith("@"):
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            sender.settimeout(1.0)
            sender.connect(address)
            sender.sendall(message.encode(errors="replace"))
    except OSError:
        return False
    return True


def status(text: str) -> bool:
    """Say in a line what the daemon does; ``systemctl status`` shows it. False without a service manager."""
    return notify(f"STATUS={_line(text)}")


def ready(text: str) -> bool:
    """Say that the daemon serves, or has read its configuration again, and in a line what it does."""
    return notify(f"READY=1\nSTATUS={_line(text)}")


def stopping(text: str) -> bool:
    """Say that the daemon stops, and in a line what it still does."""
    return notify(f"STOPPING=1\nSTATUS={_line(text)}")


def reloading(text: str) -> bool:
    """Say that the configuration is read again; :func:`ready` has to follow."""
    return notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}\nSTATUS={_line(text)}")


async def watchdog(health: HealthBoard, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
    """Tell the service manager twice per period that the daemon lives; returns at once when it does not ask.

    That is: its event loop runs, and no service that it is nothing without has ended. Else nothing is told, and after
    the period the service manager ends the daemon and starts it anew.
    """
    period_us = os.environ.get("WATCHDOG_USEC", "")
    asked = (
        period_us.isdecimal()
        and int(period_us) > 0
        and os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
    )
    task_status.started()
    while asked:
        dead = health.dead()
        if not dead:
            notify("WATCHDOG=1")
        else:
            log.error("the watchdog is not told", extra={"dead": ",".join(dead)})
            status(f"not alive: {', '.join(dead)}; the service manager will start lumiliod anew")
        await trio.sleep(int(period_us) / 2e6)


async def extend_start(started: trio.Event, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
    """Ask the service manager, if there is one, for more time until ``started`` is set."""
    task_status.started()
    while not started.is_set() and notify(f"EXTEND_TIMEOUT_USEC={int(EXTEND_BY_S * 1e6)}"):
        with trio.move_on_after(EXTEND_PERIOD_S):
            await started.wait()


def _line(text: str) -> str:
    line = "".join(char if char.isprintable() else " " for char in text)
    return line if len(line) <= LINE_MAX else f"{line[: LINE_MAX - 1]}…"
