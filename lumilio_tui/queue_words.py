"""Pausing queues and letting them go on, and what to say of it."""

from lumiliod.client import Client

EVERY = "*"
"""What is said of all queues at once: it holds beside what is said of each."""


def pause(client: Client, name: str) -> str:
    """Let nothing of a queue begin."""
    client.pause_queue(name)
    return f"{_called(name)} is paused: what runs goes on, nothing begins."


def resume(client: Client, name: str) -> str:
    """Let a queue go on; says what holds it up still."""
    told = client.resume_queue(name)
    if name == EVERY:
        still = [queue.name for queue in told.items if queue.paused_at is not None]
        return f"Every queue goes on but {', '.join(still)}, paused by itself." if still else "Every queue goes on."
    if told.paused_at is not None:
        return f'Queue {name} is paused still, for every queue is: "Queues: let all go on" helps.'
    return f"Queue {name} goes on."


def _called(name: str) -> str:
    return "Every queue" if name == EVERY else f"Queue {name}"
