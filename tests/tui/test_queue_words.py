"""What is said of pausing: of one queue, and of all of them at once."""

from collections.abc import Iterator

import pytest

from lumilio_tui import queue_words
from lumilio_tui.queue_words import EVERY
from lumiliod.client import Client


@pytest.fixture(autouse=True)
def everything_goes_on(client: Client) -> Iterator[None]:
    yield
    for name in (EVERY, "integrity"):
        client.resume_queue(name)


def of(client: Client, name: str) -> str | None:
    return next(queue.reason for queue in client.queues().items if queue.name == name)


def test_one_queue(client: Client) -> None:
    assert queue_words.pause(client, "integrity") == "Queue integrity is paused: what runs goes on, nothing begins."
    assert of(client, "integrity") == "paused"
    assert queue_words.resume(client, "integrity") == "Queue integrity goes on."
    assert of(client, "integrity") is None


def test_one_of_all_that_are_paused(client: Client) -> None:
    assert queue_words.pause(client, EVERY) == "Every queue is paused: what runs goes on, nothing begins."
    assert queue_words.resume(client, "integrity").startswith("Queue integrity is paused still, for every queue is")
    assert of(client, "integrity") is not None


def test_all_but_one(client: Client) -> None:
    queue_words.pause(client, EVERY)
    queue_words.pause(client, "integrity")
    assert queue_words.resume(client, EVERY) == "Every queue goes on but integrity, paused by itself."
    assert of(client, "integrity") == "paused"
    assert queue_words.resume(client, EVERY) == "Every queue goes on but integrity, paused by itself."
