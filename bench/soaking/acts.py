"""What people do meanwhile: bring photographs, remove them, want them back, purge, arrange, and look."""

import http.client
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from random import Random

import msgspec

from bench.soaking.wire import ask
from bench.soaking.world import NAME, World
from lumiliod.client import ApiError, Client, Unreachable
from lumiliod.contract.assets import BatchTicket
from lumiliod.contract.integrity import VerifyRequest
from lumiliod.contract.trash import PurgeRequest, RestoreRequest, TrashItem

LAYOUTS = ("cas", "flat", "date")
KEPT = 150
"""Uploads beyond these are put off: a life in a large library is as any other, but slower."""
BATCH = 6
PATIENCE_S = 20.0
PAUSE_S = 0.03

Act = Callable[[Client, World, Random], None]


@contextmanager
def working(world: World, socket_path: Path) -> Iterator[None]:
    """Let several people work for as long as the block takes; at the end each ends what was begun."""
    over = threading.Event()
    seeds = [world.rng.random() for _ in ACTS]
    people = [
        threading.Thread(target=_person, args=(socket_path, world, act, over, Random(seed)), daemon=True)
        for act, seed in zip(ACTS, seeds, strict=True)
    ]
    for person in people:
        person.start()
    try:
        yield
    finally:
        over.set()
        for person in people:
            person.join()


def _person(socket_path: Path, world: World, act: Act, over: threading.Event, rng: Random) -> None:
    with Client(str(socket_path)) as client:
        while not over.is_set():
            try:
                act(client, world, rng)
            except ApiError as error:
                with world.lock:
                    world.refused[error.problem.code] += 1
                over.wait(PAUSE_S)
            except (Unreachable, OSError, http.client.HTTPException):
                over.wait(PAUSE_S)


@contextmanager
def _photograph(world: World, rng: Random) -> Iterator[tuple[Path, str]]:
    content, digest = world.photograph(rng.choice((0, 0, 0, 200_000, 1_500_000)))
    path = world.root / "tmp" / f"IMG {digest[:16]}.jpg"
    path.write_bytes(content)
    try:
        yield path, digest
    finally:
        path.unlink()


def _upload(client: Client, world: World, rng: Random) -> None:
    time.sleep(rng.uniform(0, 0.25) if world.kept < KEPT else 1)
    if world.kept < KEPT and rng.random() < 0.7:
        with _photograph(world, rng) as (path, digest):
            client.upload(str(path), repository=NAME)
            world.accept(digest)
    elif world.kept < KEPT:
        _upload_batch(client, world, rng)


def _upload_batch(client: Client, world: World, rng: Random) -> None:
    photographs = [world.photograph() for _ in range(rng.randrange(2, BATCH + 1))]
    for ticket in _sent(client.socket, photographs).accepted:
        world.accept(ticket.digest)
    world.count("batches")


def _sent(socket_path: str, photographs: list[tuple[bytes, str]]) -> BatchTicket:
    """Send a form of several files, each under its digest."""
    boundary = "a-boundary-that-is-in-no-photograph"
    parts = []
    for content, digest in photographs:
        head = f'Content-Disposition: form-data; name="{digest}"; filename="IMG {digest[:16]}.jpg"'
        parts += [f"--{boundary}\r\n{head}\r\nContent-Type: image/jpeg\r\n\r\n".encode(), content, b"\r\n"]
    headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    body = b"".join([*parts, f"--{boundary}--\r\n".encode()])
    status, answer = ask(socket_path, "POST", f"/assets/batch?repository={NAME}", headers, body)
    return msgspec.json.decode(answer, type=BatchTicket) if status == 202 else BatchTicket(accepted=[], failed=[])


def _upload_by_tus(client: Client, world: World, rng: Random) -> None:
    time.sleep(rng.uniform(0, 0.3))
    if world.kept < KEPT:
        with _photograph(world, rng) as (path, digest):
            client.uploads.send(str(path), repository=NAME, patience_s=PATIENCE_S)
            world.accept(digest)
            world.count("resumable")


def _use_trash(client: Client, world: World, rng: Random) -> None:
    """Remove, want back, or purge: one after the other, so that it is known what was asked for last."""
    time.sleep(rng.uniform(0, 0.2))
    share = rng.random()
    if share < 0.45:
        page = client.assets(limit=100)
        if page.items:
            client.trash.remove_one(rng.choice(page.items).id)
            world.count("removed")
        return
    items = client.trash.page(limit=100).items
    if items and share < 0.7:
        item = rng.choice(items)
        # one that is just being purged may come back, or not
        with world.lock:
            world.purged.discard(item.digest)
        client.trash.restore(RestoreRequest(ids=[item.asset_id]))
        world.count("restored")
    elif items:
        _purge(client, world, rng.sample(items, min(len(items), rng.randrange(1, 6))))


def _purge(client: Client, world: World, items: list[TrashItem]) -> None:
    chosen = {item.asset_id: item.digest for item in items}
    with world.lock:
        world.purging.update(chosen.values())
    for result in client.trash.purge(PurgeRequest(ids=list(chosen))).results:
        if result.outcome == "purging":
            with world.lock:
                world.purged.add(chosen[result.asset_id])
            world.count("purged")


def _arrange(client: Client, world: World, rng: Random) -> None:
    time.sleep(rng.uniform(0.05, 0.7))
    if rng.random() < 0.25:
        client.repos.undo_relayout(NAME)
        world.count("undone")
    else:
        client.repos.relayout(NAME, rng.choice(LAYOUTS), verify=rng.random() < 0.2)
        world.count("layouts")


def _look(client: Client, world: World, rng: Random) -> None:
    time.sleep(rng.uniform(0.5, 3.0))
    if rng.random() < 0.7:
        client.scan(NAME)
        world.count("scans")
    else:
        with suppress(IndexError):
            client.integrity.verify(VerifyRequest(asset=rng.choice(client.assets(limit=100).items).id))
        client.integrity.verify(VerifyRequest(repository=NAME))
        world.count("verified")


ACTS: tuple[Act, ...] = (_upload, _upload_by_tus, _use_trash, _arrange, _look)
