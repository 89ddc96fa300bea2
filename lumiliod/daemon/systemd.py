"""The notification protocol of systemd (sd_notify(3)): one datagram per message, no library needed."""

import os
import socket

import trio


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
            sender.sendall(message.encode())
    except OSError:
        return False
    return True


async def watchdog(*, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
    """Tell the service manager twice per period that the event loop runs; returns at once when it does not ask."""
    period_us = os.environ.get("WATCHDOG_USEC", "")
    asked = period_us.isdigit() and os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
    task_status.started()
    while asked:
        notify("WATCHDOG=1")
        await trio.sleep(int(period_us) / 2e6)
