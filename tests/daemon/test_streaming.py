"""Films in pieces through the daemon: a player fetches what the playlists name, and has the film."""

import io
import itertools
import json
import threading
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from urllib.parse import urljoin
from uuid import UUID

import av
import pytest
from av.filter import Graph

from tests.conftest import CORPUS, Daemon
from tests.daemon.test_bad_input import wait_until
from tests.daemon.test_missing_work import media_processes
from tests.daemon.test_web_videos import ingested, played
from tests.media.test_film_pieces import counting, frames, sound
from tests.media.test_web_video import film
from tests.raw_http import UnixConnection


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = tmp_path / "repo"
    made.mkdir()
    return made


def fetched(daemon: Daemon, asset_id: UUID) -> dict[str, bytes]:
    """Do as a player does; return what there is of each size."""

    def read(path: str, mime: str) -> bytes:
        status, body, told = played(daemon, asset_id, path)
        assert (status, told) == (200, mime), (path, body[:300])
        return body

    films = {}
    master = read("video/hls/master.m3u8", "application/vnd.apple.mpegurl").decode()
    for line in [line for line in master.splitlines() if not line.startswith("#")]:
        index_path = urljoin("video/hls/master.m3u8", line)
        index = read(index_path, "application/vnd.apple.mpegurl").decode()
        names = [line for line in index.splitlines() if not line.startswith("#")]
        [header] = [line.split('"')[1] for line in index.splitlines() if line.startswith("#EXT-X-MAP:URI=")]
        films[line.partition("/")[0]] = b"".join(
            read(urljoin(index_path, name), "video/mp4") for name in [header, *names]
        )
    return films


def cached(root: Path) -> set[str]:
    """Return what is kept of films, without the digests of what it was made from."""
    names = [path.name.split("-") for path in (root / ".lumilio/cache/films").rglob("*") if path.is_file()]
    return {"-".join([*name[:2], *name[3:]]) for name in names}


def test_a_player_has_the_film(daemon: Daemon, root: Path) -> None:
    counting(root / "a.mp4", "libx264", seconds=14.5, rate=Fraction(25), sound="aac")
    films = [path for path in (CORPUS / "video_rotate.mp4", CORPUS / "mp42-hvc1.mp4") if path.exists()]
    for path in films:
        (root / path.name).write_bytes(path.read_bytes())
    (root / "none.jpg").write_bytes(b"\xff\xd8\xff\xe0 none")
    ids = ingested(daemon, root)
    [content] = fetched(daemon, ids["a.mp4"]).values()
    shown = frames(content)
    assert [float(frame.time or 0) for frame in shown] == pytest.approx([n / 25 for n in range(362)])
    samples, _ = sound(content)
    assert len(samples) / 48_000 == pytest.approx(14.5, abs=0.1)
    for path in films:
        with av.open(str(path), "r") as container:
            count = len(list(container.decode(video=0)))
        for content in fetched(daemon, ids[path.name]).values():
            assert len(frames(content)) == pytest.approx(count, abs=1)
    for name, code in (
        ("1080/index.m3u8", "rendition_missing"),
        ("1080/init.mp4", "rendition_missing"),
        ("480/3.m4s", "segment_missing"),
    ):
        status, body, _ = played(daemon, ids["a.mp4"], f"video/hls/{name}")
        assert (status, json.loads(body)["code"]) == (404, code)
    status, part, _ = played(daemon, ids["a.mp4"], "video/hls/480/0.m4s", Range="bytes=4-7")
    assert (status, part) == (206, b"moof")
    with daemon.client as client:
        photo = next(asset for asset in client.all_assets() if asset.path == "none.jpg")
        client.trash.remove_one(ids["a.mp4"], delete_file=True)
    status, body, _ = played(daemon, photo.id, "video/hls/master.m3u8")
    assert (status, json.loads(body)["code"]) == (404, "video_missing")
    # what was purged left nothing
    assert (root / ".lumilio/cache/films" / str(ids["a.mp4"])).exists()
    daemon.cli("trash", "empty", "--yes")
    daemon.cli("wait", "--timeout", "60")
    assert not (root / "a.mp4").exists()
    pieces = root / ".lumilio/cache/films"
    assert not (pieces / str(ids["a.mp4"])).exists()
    # nor does what was left all the same, as by a power failure
    with daemon.client as client:
        others = client.derivatives.status().film_pieces
    for name in (str(UUID(int=1)), str(photo.id), "foreign"):
        (pieces / name).mkdir()
        (pieces / name / "hls-1-480-0.m4s").write_bytes(b"piece")
    with daemon.client as client:
        before = client.derivatives.status().film_pieces
    assert (before.files, before.size_bytes) == (others.files + 3, others.size_bytes + 15)
    assert before.budget_bytes == 2048 << 20
    assert f"Pieces of films for streaming: {before.files} with" in daemon.cli("derivatives", "status").stderr
    pruned = json.loads(daemon.cli("derivatives", "prune", "--json").stdout)["result"]
    assert (pruned["removed"], pruned["removed_bytes"]) == (1, 5)
    left = {path.name for path in pieces.iterdir()}
    assert left == {str(photo.id), "foreign", *(str(ids[path.name]) for path in films)}


def test_what_is_kept_is_limited_and_made_again(make_daemon: Callable[..., Daemon], root: Path, tmp_path: Path) -> None:
    config = tmp_path / "lumiliod.toml"
    config.write_text("[media]\nhls_cache_mb = 1\n")
    daemon = make_daemon("--config", str(config)).start()
    noise = root / "noise.mkv"
    with av.open(str(noise), "w") as container:
        stream = container.add_stream("mpeg4", rate=25, options={"qscale": "2"})
        stream.width, stream.height, stream.pix_fmt = 640, 480, "yuv420p"
        graph = Graph()
        steps = [graph.add("color", "s=640x480:r=25:d=14"), graph.add("noise", "alls=60:allf=t"),
                 graph.add("format", "yuv420p"), graph.add("buffersink")]  # fmt: skip
        for one, following in itertools.pairwise(steps):
            one.link_to(following)
        graph.configure()
        for number in range(350):
            frame = graph.vpull()
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    ids = ingested(daemon, root)
    asset_id = ids["noise.mkv"]
    first = played(daemon, asset_id, "video/hls/480/0.m4s")
    assert first[0] == 200
    assert len(first[1]) > 600_000
    assert played(daemon, asset_id, "video/hls/480/1.m4s")[0] == 200
    kept = sum(path.stat().st_size for path in (root / ".lumilio/cache/films").rglob("*") if path.is_file())
    assert kept < 2 << 20
    assert "hls-1-480-0.m4s" not in cached(root)
    assert "hls-1-480-1.m4s" in cached(root)
    beginning = played(daemon, asset_id, "video/hls/480/init.mp4")[1]
    again = played(daemon, asset_id, "video/hls/480/0.m4s")
    # of the same film: several threads that keep to a bit rate need not write the same bytes twice
    assert [(one[0], len(frames(beginning + one[1]))) for one in (first, again)] == [(200, 150)] * 2
    assert daemon.stop() == 0
    config.write_text("[media]\nhls_cache_mb = 0\n")
    daemon.start()
    status, body, _ = played(daemon, asset_id, "video/hls/master.m3u8")
    assert (status, json.loads(body)["code"]) == (404, "video_missing")


def test_many_wait_for_one_and_who_goes_away_ends_what_only_it_waited_for(daemon: Daemon, root: Path) -> None:
    film(root / "long.mkv", codec="mpeg4", size=(1920, 1080), seconds=7)
    daemon.cli("queues", "pause", "transcode")
    daemon.cli("repos", "add", str(root), "--name", "home")
    with daemon.client as client:
        wait_until(lambda: [asset.status for asset in client.all_assets()] == ["ready"])
        [asset] = client.all_assets()
    assert played(daemon, asset.id, "video/hls/master.m3u8")[0] == 200
    assert daemon.process is not None
    idle = set(media_processes(daemon.process.pid))

    def makers() -> set[int]:
        return set(media_processes(daemon.process.pid if daemon.process else 0)) - idle

    def asked() -> UnixConnection:
        connection = UnixConnection(daemon.socket)
        connection.request("GET", f"/api/v1/assets/{asset.id}/video/hls/1080/0.m4s")
        return connection

    connection = asked()
    wait_until(lambda: bool(makers()))
    [first] = makers()
    connection.close()
    wait_until(lambda: first not in makers())
    wait_until(lambda: list((root / ".lumilio/temp").iterdir()) == [])
    assert cached(root) == {"hls-1-survey.json"}

    answers: list[bytes] = []

    def ask() -> None:
        waiting = asked()
        answers.append(waiting.getresponse().read())
        waiting.close()

    leaving = asked()
    wait_until(lambda: bool(makers()))
    [maker] = makers()
    assert daemon.process is not None
    descriptors = Path(f"/proc/{daemon.process.pid}/fd")
    before = len(list(descriptors.iterdir()))
    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(list(descriptors.iterdir())) >= before + 4)  # all are connected
    assert makers() <= {maker}
    leaving.close()
    for thread in threads:
        thread.join()
    assert len(answers) == 4
    assert len(set(answers)) == 1
    assert answers[0][4:8] == b"moof"
    wait_until(lambda: not makers())  # the one that made it for all has ended with that
    [segment] = (root / ".lumilio/cache/films").rglob("*-1080-0.m4s")
    kept = segment.stat()
    assert played(daemon, asset.id, "video/hls/1080/0.m4s")[1] == answers[0]
    assert (segment.stat().st_ino, segment.stat().st_ctime_ns >= kept.st_ctime_ns) == (kept.st_ino, True)
    with av.open(io.BytesIO(played(daemon, asset.id, "video/hls/1080/init.mp4")[1] + answers[0]), "r") as container:
        assert container.streams.video[0].codec_context.height == 1080


def test_a_broken_film_is_explained(daemon: Daemon, root: Path) -> None:
    path = film(root / "b.mkv", codec="mpeg4", seconds=0.2, sound=None)
    path.write_bytes(path.read_bytes()[:600] + b"\0" * 400)
    ids = ingested(daemon, root)
    status, body, _ = played(daemon, ids["b.mkv"], "video/hls/master.m3u8")
    assert (status, json.loads(body)["code"]) == (422, "corrupt")
