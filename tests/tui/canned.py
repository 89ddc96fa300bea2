"""A daemon that always says the same: pictures of the console are to be alike, and some answers are no answers."""

import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from http.server import BaseHTTPRequestHandler
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import msgspec
from PIL import Image, ImageDraw

from lumiliod.contract.assets import Asset, AssetDetail, SearchPage
from lumiliod.contract.derivatives import DerivativeKind, DerivativeStatus, FilmPieces
from lumiliod.contract.jobs import Cause, CauseList, Job, JobError, JobPage, JobsChanged, Progress
from lumiliod.contract.queues import Queue, QueueList
from lumiliod.contract.repositories import Repository, RepositoryList, ScanTicket, Watch
from lumiliod.contract.status import Health, JobCount, ServiceHealth, StageTime, Status
from lumiliod.contract.sync import (
    HeldDeletions,
    HeldFilePage,
    RepositorySync,
    SyncOperation,
    SyncOperationPage,
    SyncOverview,
)
from lumiliod.contract.trash import TrashChanged, TrashPage, TrashSummary
from lumiliod.contract.uploads import RefusedUpload, UploadList

NOW = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)
HOME, PHONE = UUID(int=1), UUID(int=2)

Answer = bytes | Callable[[BaseHTTPRequestHandler], None]


def number(of: int) -> UUID:
    return UUID(int=0x018F_D2A0_0000_7000_8000_0000_0000_0000 + of)


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def service(name: str, state: str = "ready", reason: str | None = None, restarts: int = 0) -> ServiceHealth:
    return ServiceHealth(name=name, state=state, reason=reason, since=ago(93_000), restarts=restarts)


def health() -> Health:
    return Health(
        status="degraded",
        version="0.1.0",
        started_at=ago(93_600),
        uptime_s=93_600.0,
        loop_lag_ms=3.1,
        memory_bytes=187 << 20,
        services=[
            service("api"),
            service("database"),
            service("encoder", "degraded", "no graphics card encodes: libx264 does", 1),
            service("jobs"),
            service("listen"),
            service("repositories", "degraded", "phone is offline: /mnt/phone is not there"),
            service("sandbox", reason="landlock 7, seccomp, no network"),
            service("watch"),
        ],
    )


def queue(
    name: str, concurrency: int, running: int = 0, waiting: int = 0, failed: int = 0, paused: bool = False
) -> Queue:
    return Queue(
        name=name,
        concurrency=concurrency,
        configured=concurrency,
        allowed=0 if paused else concurrency,
        reason="paused" if paused else None,
        paused_at=ago(600) if paused else None,
        quiet=None,
        counts={"running": running, "available": waiting, "discarded": failed},
    )


def queues() -> QueueList:
    items = [
        queue("develop", 1),
        queue("ingest", 5, 5, 18_204, 12),
        queue("integrity", 2, 1),
        queue("maintenance", 1),
        queue("media", 4, 4, 36_117, 131),
        queue("ml", 1),
        queue("transcode", 1, 0, 412, 3, paused=True),
    ]
    return QueueList(items=items, paused_at=None, quiet=None)


def status() -> Status:
    counts = [
        ("ingest", "ingest", "available", 18_204),
        ("ingest", "ingest", "running", 5),
        ("ingest", "ingest", "discarded", 12),
        ("metadata", "media", "available", 17_911),
        ("thumbnails", "media", "available", 18_206),
        ("thumbnails", "media", "running", 4),
        ("thumbnails", "media", "discarded", 131),
        ("transcode", "transcode", "available", 412),
        ("transcode", "transcode", "discarded", 3),
    ]
    done = [("ingest", 61_870), ("metadata", 61_420), ("scan", 31), ("thumbnails", 60_902), ("transcode", 1_288)]
    return Status(
        version="0.1.0",
        health="degraded",
        assets={"photo": 58_214, "video": 3_402, "audio": 254},
        asset_states={"ready": 61_000, "processing": 739, "undecodable": 131},
        repositories=2,
        open_jobs=54_742,
        discarded_jobs=146,
        refused_uploads=2,
        refused_files=["scan-0412.pdf"],
        open_findings=1,
        away_mirrors=0,
        held_repositories=["home"],
        jobs=[JobCount(kind=k, queue=q, state=s, count=c) for k, q, s, c in counts],
        scans=[],
        stages=[StageTime(kind=kind, completed=n, total_s=n / 40, mean_ms=25.0) for kind, n in done],
    )


def failed(code: str, message: str, attempt: int = 1, at_s: float = 3600) -> JobError:
    return JobError(
        code=code, message=message, error_class="Permanent", attempt=attempt, at=ago(at_s), worker="nas:812"
    )


def job(of: int, kind: str, state: str, about: str | None, *errors: JobError, **more: Any) -> Job:
    queue_of = {"ingest": "ingest", "scan": "maintenance", "transcode": "transcode"}.get(kind, "media")
    fields: dict[str, Any] = {
        "id": number(10_000 - of),
        "kind": kind,
        "queue": queue_of,
        "state": state,
        "priority": 2,
        "attempt": 0 if state == "available" else 1,
        "max_attempts": 5,
        "args": {"asset": str(number(of))},
        "result": None,
        "errors": list(errors),
        "asset_id": number(of),
        "repository_id": HOME,
        "created_at": ago(60 * of + 5),
        "scheduled_at": ago(60 * of + 5),
        "attempted_at": None if state == "available" else ago(60 * of),
        "finished_at": ago(60 * of - 2) if state in ("completed", "discarded") else None,
        "progress": None,
        "cause": errors[-1].code if errors else None,
        "tags": [],
        "unique_key": None,
        "parent_id": None,
        "group_id": None,
        "waits_on": [],
        "worker_id": None,
        "about": about,
    }
    return Job(**{**fields, **more})


def jobs() -> list[Job]:
    bar = Progress(done=41, total=96, unit="s", text="h264")
    found = [
        job(1, "transcode", "running", "2024/08 Alps/descent.mp4", progress=bar),
        job(2, "scan", "running", "2024/08 Alps", progress=Progress(done=18_204, unit="files")),
        job(
            3, "thumbnails", "discarded", "2024/08 Alps/IMG_2041.jpg", failed("corrupt", "cannot be decoded: truncated")
        ),
        job(
            4,
            "ingest",
            "discarded",
            "inbox/evil\x1b[31mred.jpg",
            failed("unsupported", "this is no photo, video or audio"),
        ),
        job(5, "thumbnails", "retryable", "שלום.jpg", failed("no_space", "the disk of home is full")),
        job(6, "metadata", "discarded", "a\u202egpj.exe", failed("poison", "two workers died of it")),
    ]
    for of in range(7, 60):
        state = "completed" if of % 3 else "available"
        kind = ("ingest", "metadata", "thumbnails")[of % 3]
        found.append(job(of, kind, state, f"2024/07 Lake/IMG_{2000 + of}.jpg"))
    return found


def causes() -> list[Cause]:
    def cause(kind: str, code: str, count: int, message: str, at_s: float) -> Cause:
        return Cause(
            kind=kind,
            cause=code,
            count=count,
            discarded=count,
            first_at=ago(9 * 86_400),
            last_at=ago(at_s),
            error_class="Permanent",
            message=message,
            example=number(9_997),
        )

    return [
        cause("thumbnails", "corrupt", 124, "cannot be decoded: truncated", 3_600),
        cause("ingest", "unsupported", 12, "this is no photo, video or audio", 7_200),
        cause("thumbnails", "poison", 7, "two workers died of it", 86_400),
        cause("transcode", "too_long", 3, "longer than 12 hours", 200_000),
    ]


def refused() -> UploadList:
    upload = RefusedUpload(
        id=number(5),
        state="refused",
        filename="scan-0412.pdf",
        repository="home",
        owner_id=number(6),
        owner="ada",
        size_bytes=812_004,
        digest="ab" * 32,
        code="unsupported",
        reason="this is no photo, video or audio",
        refused_at=ago(5_000),
        task_id=number(7),
    )
    return UploadList(items=[], refused=[upload])


def repositories() -> list[Repository]:
    def repository(of: UUID, name: str, path: str, watch: Watch, **more: Any) -> Repository:
        fields: dict[str, Any] = {"status": "online", "status_reason": None, "assets": 51_204, "files": 52_881}
        return Repository(
            id=of,
            name=name,
            path=path,
            storage_strategy="date",
            created_at=ago(90 * 86_400),
            size_bytes=412 << 30,
            scanning=False,
            watch=watch,
            **{**fields, **more},
        )

    reason = "/mnt/phone is not there"
    return [
        repository(HOME, "home", "/srv/photos", Watch(state="watching", since=ago(93_000))),
        repository(
            PHONE,
            "phone",
            "/mnt/phone",
            Watch(state="offline", reason=reason),
            status="offline",
            status_reason=reason,
            assets=10_666,
            files=10_702,
        ),
    ]


def held() -> HeldDeletions:
    return HeldDeletions(
        plan_id=number(9),
        repository="home",
        repository_id=HOME,
        state="held",
        files=12_408,
        known=52_881,
        since=ago(1_900),
        decided_at=None,
        examples=held_paths()[:3],
    )


def held_paths() -> list[str]:
    return [f"2019/{month:02} Album/IMG_{number_}.jpg" for month in range(1, 13) for number_ in range(1, 8)]


def runs() -> list[SyncOperation]:
    def run(of: int, why: Any, state: Any = "completed", **more: Any) -> SyncOperation:
        fields: dict[str, Any] = {"added": 0, "changed": 0, "moved": 0, "missing": 0, "note": None, "error": None}
        return SyncOperation(
            id=number(of),
            repository="home",
            repository_id=HOME,
            type=why,
            scope="full",
            folder="",
            status=state,
            found=52_881,
            ignored=31,
            duration_s=12.4,
            task_id=number(of + 50),
            started_at=ago(1_900 * of),
            finished_at=ago(1_900 * of - 12),
            **{**fields, **more},
        )

    note = "12,408 of 52,881 files are missing: they are held until a person decides"
    return [
        run(1, "reconciliation", "held", missing=12_408, note=note),
        run(2, "realtime", added=14),
        run(3, "realtime", changed=2, moved=31),
        run(4, "startup", "failed", error="the disk did not answer"),
        run(5, "manual", added=52_881),
    ]


def sync() -> SyncOverview:
    def one(repository: Repository, held_: HeldDeletions | None) -> RepositorySync:
        return RepositorySync(
            repository=repository.name,
            repository_id=repository.id,
            status=repository.status,
            status_reason=repository.status_reason,
            watch=repository.watch,
            last=runs()[0],
            open=[],
            held=held_,
        )

    home, phone = repositories()
    return SyncOverview(items=[one(home, held()), one(phone, None)])


NAMES = ("sunset.jpg", "IMG_2041.jpg", "descent.mp4", "lake.jpg", "שלום.jpg", "evil\x1b[31mred.jpg", "rain.wav")


def asset(of: int) -> Asset:
    name = NAMES[of % len(NAMES)]
    kind = {"mp4": "video", "wav": "audio"}.get(name[-3:], "photo")
    has_picture = kind != "audio"
    fields: dict[str, Any] = dict.fromkeys(Asset.__struct_fields__)
    return Asset(
        **{
            **fields,
            "id": number(of),
            "type": kind,
            "status": "ready" if has_picture else "processing",
            "original_filename": name,
            "repository": "home",
            "repository_id": HOME,
            "path": f"2024/08 Alps/{name}",
            "digest": f"{of:064x}",
            "size_bytes": 4_200_000 + of * 1_000,
            "mime_type": "image/jpeg",
            "width": 4_000,
            "height": 3_000,
            "taken_at": ago(86_400 * of),
            "taken_at_local": ago(86_400 * of),
            "tz_source": "offset_tag",
            "taken_source": "capture",
            "camera_make": "FUJIFILM",
            "camera_model": "X-T5",
            "rating": of % 6,
            "liked": of % 4 == 1,
            "keywords": ["alps", "lake"],
            "added_at": ago(80_000 * of),
            "thumbnails": [150, 300, 1024] if has_picture else [],
            "thumbnail_version": "v1" if has_picture else None,
            "motion": False,
        }
    )


def detail(of: int) -> AssetDetail:
    shown = {name: getattr(asset(of), name) for name in Asset.__struct_fields__}
    lists = dict.fromkeys(("regions", "stack_members", "companions", "versions"), ())
    fields: dict[str, Any] = dict.fromkeys(AssetDetail.__struct_fields__)
    return msgspec.convert({**fields, "tags": {}, **lists, **shown}, AssetDetail, from_attributes=True)


@cache
def thumbnail(of: int) -> bytes:
    """Draw a sky, a hill and a sun, differently each time."""
    picture = Image.new("RGB", (150, 112), (90 + of * 11 % 120, 150, 230 - of * 7 % 90))
    draw = ImageDraw.Draw(picture)
    sun = 20 + of * 23 % 100
    draw.ellipse((sun, 14, sun + 26, 40), fill=(255, 220, 120))
    draw.polygon([(0, 112), (0, 80), (50 + of * 13 % 60, 44 + of * 5 % 20), (150, 90), (150, 112)], fill=(40, 90, 50))
    data = BytesIO()
    picture.save(data, "PNG")
    return data.getvalue()


def derivatives() -> DerivativeStatus:
    kind = DerivativeKind(kind="thumbnail_150", recipe="1", files=61_000, size_bytes=2 << 30, outdated=0, evicted=0)
    return DerivativeStatus(
        items=[kind],
        work=[],
        web_videos_budget_bytes=0,
        web_photos_budget_bytes=0,
        film_pieces=FilmPieces(files=0, size_bytes=0, budget_bytes=0),
    )


def trash() -> TrashPage:
    summary = TrashSummary(
        count=0,
        files=0,
        size_bytes=0,
        hidden=0,
        refused=0,
        untracked=0,
        oldest_at=None,
        next_purge_at=None,
        trash_days=30,
    )
    return TrashPage(items=[], summary=summary)


def answers() -> dict[str, Any]:
    """Return what is said to a path; some depend on the query."""
    told: dict[str, Any] = {
        "/health": health(),
        "/status": status(),
        "/queues": queues(),
        "/jobs/causes": CauseList(items=causes()),
        "/uploads": refused(),
        "/repositories": RepositoryList(items=repositories()),
        "/sync": sync(),
        "/sync/operations": SyncOperationPage(items=runs()),
        f"/repositories/{HOME}/held": HeldFilePage(items=held_paths()),
        "/search": SearchPage(query="", items=[asset(of) for of in range(28)], total=61_870),
        "/derivatives": derivatives(),
        "/trash": trash(),
        "/jobs": JobPage(items=jobs()),
    }
    told |= {f"/assets/{number(of)}": detail(of) for of in range(28)}
    told |= {f"/assets/{number(of)}/{what}": asset(of) for of in range(28) for what in ("rating", "like")}
    told |= {f"/queues/{one.name}/{verb}": queues() for one in queues().items for verb in ("pause", "resume")}
    told |= {f"/queues/{one.name}": queues() for one in queues().items}
    told |= {f"/jobs/{verb}": JobsChanged(count=7) for verb in ("retry", "cancel", "discard")}
    told |= {f"/repositories/{HOME}/{what}": ScanTicket(task_id=number(3)) for what in ("scan", "held/approve")}
    told |= {f"/repositories/{HOME}/held/reject": held(), "POST /trash": TrashChanged(count=1)}
    told |= {f"/assets/{number(of)}/thumbnail": thumbnail(of) for of in range(28)}
    return told | {f"/jobs/{one.id}": one for one in jobs()}


@dataclass
class Canned:
    """A server of fixed answers. ``instead`` is what is said to a path for a while.

    ``asked`` is what was asked for, ``sent`` what came with it.
    """

    socket: str
    told: dict[str, Any]
    instead: dict[str, Answer] = field(default_factory=dict[str, Answer])
    asked: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    sent: list[tuple[str, str, Any]] = field(default_factory=list[tuple[str, str, Any]])
    released: threading.Event = field(default_factory=threading.Event)
    """Set to let go of answers that wait."""

    def stall(self, handler: BaseHTTPRequestHandler) -> None:
        """Answer nothing until the end."""
        self.released.wait(120)

    def find(self, method: str, path: str, query: dict[str, list[str]]) -> Any:
        """Return what is said."""
        found = self.told.get(f"{method} {path}", self.told.get(path))
        if path == "/jobs":
            wanted = {name: values[0] for name, values in query.items() if name in ("state", "kind", "cause", "queue")}
            items = [one for one in jobs() if all(getattr(one, name) == wanted[name] for name in wanted)]
            return JobPage(items=items[::-1] if query.get("sort") == ["created"] else items)
        if path == "/search" and "limit" in query:
            limit = int(query["limit"][0])
            return SearchPage(
                query="", items=[asset(of) for of in range(min(28, limit))], total=61_870, next_cursor="x"
            )
        return found


@contextmanager
def canned(folder: Path) -> Iterator[Canned]:
    """Serve fixed answers on a socket in ``folder``."""
    said = Canned(str(folder / "s"), answers())

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            place = urlsplit(self.path)
            path = place.path.removeprefix("/api/v1")
            said.asked.append((self.command, path))
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if self.command != "GET":
                said.sent.append((self.command, path, msgspec.json.decode(body) if body else None))
            instead = said.instead.get(path, said.instead.get("*"))
            if callable(instead):
                instead(self)
                self.close_connection = True
                return
            found = instead if instead is not None else said.find(self.command, path, parse_qs(place.query))
            body = found if isinstance(found, bytes) else msgspec.json.encode(found)
            self.send_response(404 if found is None else 200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _answer

        def address_string(self) -> str:
            return "socket"

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # as upstream calls it
            """Say nothing."""

    class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
        daemon_threads = True
        request_queue_size = 128  # who finds no place in it is turned away, and httpcore forgets its socket

        def handle_error(self, request: object, client_address: object) -> None:
            """Let clients go when they like."""

    with Server(said.socket, Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield said
        finally:
            said.released.set()
            server.shutdown()
            thread.join()
