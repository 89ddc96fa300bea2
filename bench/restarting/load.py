"""What goes on while a daemon is restarted: people ask, upload and put files where it looks."""

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import av
import blake3
import numpy as np

from lumiliod.client import Client, ClientError

FILM_SIZE, FILM_RATE = (1280, 720), 24
REST_S = 0.02


@dataclass(frozen=True)
class Answer:
    """Who asked, when by the monotonic clock, and how long the answer took."""

    who: str
    began_s: float
    took_s: float


@dataclass
class Answers:
    """What became of the requests: each that was answered, and the code of each that was not."""

    answered: list[Answer] = field(default_factory=list[Answer])
    unanswered: list[str] = field(default_factory=list[str])
    lock: threading.Lock = field(default_factory=threading.Lock)

    def ask(self, request: Callable[[], object]) -> bool:
        """Send a request; tell whether it was answered."""
        began = time.monotonic()
        try:
            request()
        except ClientError as error:
            with self.lock:
                self.unanswered.append(f"{error.problem.code}: {error.problem.detail}")
            return False
        took_s = time.monotonic() - began
        with self.lock:
            self.answered.append(Answer(threading.current_thread().name, began, took_s))
        return True


@dataclass
class Load:
    """Threads that work against a socket until :meth:`end`."""

    socket: Path
    folder: Path
    """The repository: files are put into its user area."""
    uploads: Path
    pictures: list[bytes]
    answers: Answers = field(default_factory=Answers)
    acknowledged: set[str] = field(default_factory=set[str])
    placed: set[str] = field(default_factory=set[str])
    _stop: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list[threading.Thread])

    def begin(self) -> None:
        """Start everything."""
        looks: list[Callable[[Client], object]] = [
            lambda client: client.status(),
            lambda client: client.assets(),
            lambda client: client.jobs(),
            lambda client: client.health(),
        ]
        for name, look in zip(("status", "assets", "jobs", "health"), looks, strict=True):
            self._start(self._look, name, look)
        for number in range(2):
            self._start(self._upload, f"upload {number}", number)
        self._start(self._place, "place")

    def end(self) -> None:
        """Let every request that was sent end."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _start(self, work: Callable[..., None], name: str, *args: object) -> None:
        thread = threading.Thread(target=work, args=args, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _look(self, look: Callable[[Client], object]) -> None:
        with Client(str(self.socket)) as client:
            while not self._stop.wait(REST_S):
                self.answers.ask(lambda: look(client))

    def _upload(self, number: int) -> None:
        path = self.uploads / f"{number}.jpg"
        count = 0
        with Client(str(self.socket)) as client:
            while not self._stop.wait(REST_S):
                count += 1
                content = self._unlike_any(f"upload {number} {count}")
                path.write_bytes(content)
                if self.answers.ask(lambda: client.upload(str(path))):
                    self.acknowledged.add(blake3.blake3(content).hexdigest())

    def _place(self) -> None:
        count = 0
        while not self._stop.wait(0.1):
            count += 1
            content = self._unlike_any(f"place {count}")
            folder = self.folder / f"day {count // 50}"
            folder.mkdir(exist_ok=True)
            (folder / f"{count}.jpg").write_bytes(content)
            self.placed.add(blake3.blake3(content).hexdigest())

    def _unlike_any(self, comment: str) -> bytes:
        picture = random.choice(self.pictures)
        return picture[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment.encode() + picture[2:]


def film(path: Path, seconds: int) -> None:
    """Write a film that browsers do not play: what converts it has a good while to do."""
    width, height = FILM_SIZE
    lot = np.random.default_rng(7)
    ground = lot.integers(0, 255, (height + 256, width + 256, 3), dtype=np.uint8)
    with av.open(str(path), "w", format="avi") as container:
        stream = container.add_stream("mpeg4", rate=FILM_RATE)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.bit_rate = 8_000_000
        for number in range(seconds * FILM_RATE):
            at = number % 256
            picture = np.ascontiguousarray(ground[at : at + height, at : at + width])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
