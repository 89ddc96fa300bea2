"""Whatever is thrown at it ends in one clear error with a stable code; the daemon stays up, nothing is left behind."""

import io
import json
import os
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from blake3 import blake3
from PIL import Image

from lumiliod.client import ApiError
from tests.conftest import Daemon
from tests.daemon.test_kill import photograph
from tests.raw_http import UnixConnection


@pytest.fixture(scope="module")
def served(make_module_daemon: Callable[..., Daemon]) -> Iterator[Daemon]:
    daemon = make_module_daemon().start()
    yield daemon
    with daemon.client as client:
        assert client.health().status == "ok"
    assert daemon.stop() == 0


@pytest.fixture
def root(served: Daemon, tmp_path: Path) -> Path:
    path = tmp_path / "repo"
    path.mkdir()
    served.cli("repos", "add", str(path), "--name", tmp_path.name)
    return path


def post(daemon: Daemon, repository: str, body: bytes, **headers: str) -> tuple[int, dict[str, object]]:
    connection = UnixConnection(daemon.socket)
    fields = {"Content-Type": "application/octet-stream", "X-Filename": "a.jpg"}
    fields |= {key.replace("_", "-"): value for key, value in headers.items()}
    connection.request("POST", f"/api/v1/assets?repository={repository}", body, fields)
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    return answer.status, json.loads(text)


def left_behind(root: Path) -> list[str]:
    folders = (root / ".lumilio" / "staging" / "incoming", root / ".lumilio" / "temp", root / "inbox")
    return [str(path) for folder in folders for path in folder.rglob("*") if path.is_file()]


def failed(root: Path) -> list[dict[str, object]]:
    return [json.loads(path.read_text()) for path in (root / ".lumilio/staging/failed").glob("*.reason.json")]


UPLOADS = {
    "text": (b"hello", "unsupported"),
    "html": (b"<html><body>no</body></html>", "unsupported"),
    "zeros": (bytes(65536), "corrupt"),
    "zip": (b"PK\x05\x06" + bytes(18), "unsupported"),
}


@pytest.mark.parametrize("case", UPLOADS)
def test_no_media(served: Daemon, root: Path, tmp_path: Path, case: str) -> None:
    body, code = UPLOADS[case]
    status, ticket = post(served, tmp_path.name, body + os.urandom(8) if case == "text" else body)
    assert status == 202
    served.cli("wait", "--timeout", "60")
    with served.client as client:
        task = client.task(ticket["task_id"])  # type: ignore[arg-type]  # a UUID as text
    assert task.state == "discarded"
    assert task.errors[-1].code == code
    assert [reason["code"] for reason in failed(root)] == [code]
    assert left_behind(root) == []


def test_empty(served: Daemon, root: Path, tmp_path: Path) -> None:
    status, problem = post(served, tmp_path.name, b"")
    assert (status, problem["code"]) == (400, "empty_file")
    assert left_behind(root) == []


def test_wrong_hash(served: Daemon, root: Path, tmp_path: Path) -> None:
    status, problem = post(served, tmp_path.name, photograph(1), X_Content_Hash="0" * 64)
    assert (status, problem["code"]) == (400, "digest_mismatch")
    status, problem = post(served, tmp_path.name, photograph(1), X_Content_Hash="xyz")
    assert (status, problem["code"]) == (400, "bad_digest")
    assert left_behind(root) == []


def test_shorter_than_announced(served: Daemon, root: Path, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as raw:
        raw.connect(served.socket)
        head = (
            f"POST /api/v1/assets?repository={tmp_path.name} HTTP/1.1\r\nHost: x\r\nX-Filename: a.jpg\r\n"
            "Content-Type: application/octet-stream\r\nContent-Length: 100000\r\n\r\n"
        )
        raw.sendall(head.encode() + photograph(2)[:5000])
        raw.shutdown(socket.SHUT_WR)
        raw.settimeout(30)
        while raw.recv(65536):
            pass
    with served.client as client:
        assert client.assets().items == [] or all(asset.size_bytes != 5000 for asset in client.all_assets())
    wait_until(lambda: left_behind(root) == [])


def test_the_same_bytes_twice_at_once(served: Daemon, root: Path, tmp_path: Path) -> None:
    body = photograph(3)
    tickets: list[dict[str, object]] = []
    threads = [threading.Thread(target=lambda: tickets.append(post(served, tmp_path.name, body)[1])) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    served.cli("wait", "--timeout", "60")
    with served.client as client:
        results = [client.task(ticket["task_id"]).result for ticket in tickets]  # type: ignore[arg-type]
    assert all(result is not None for result in results)
    assert len({result["asset_id"] for result in results if result}) == 1
    assert sorted(result["outcome"] for result in results if result) == ["asset"] + ["duplicate"] * 5
    assert len(left_behind(root)) == 1


@pytest.mark.parametrize(
    "name", ["new\nline.jpg", "..%2F..%2Fetc%2Fpasswd", "%FF%FE.jpg", "a" * 300 + ".jpg", "CON.jpg"]
)
def test_names(served: Daemon, root: Path, tmp_path: Path, name: str) -> None:
    body = photograph(hash(name) % 10_000)
    quoted = name.replace("\n", "%0A")
    status, _ = post(served, tmp_path.name, body, X_Filename=quoted, X_Content_Hash=blake3(body).hexdigest())
    assert status == 202
    served.cli("wait", "--timeout", "60")
    [placed] = left_behind(root)
    assert Path(placed).read_bytes() == body
    assert Path(placed).is_relative_to(root / "inbox")


def test_files_where_they_lie(served: Daemon, root: Path, tmp_path: Path) -> None:
    whole = photograph(77)
    contents: dict[bytes, bytes] = {
        b"empty.jpg": b"",
        b"truncated.jpg": whole[: len(whole) // 50],
        b"mislabelled.heic": photograph(78),
        b"text.jpg": b"not a picture at all",
        b"new\nline.jpg": photograph(79),
        b"invalid-\xff\xfe.jpg": photograph(80),
        b"good.jpg": photograph(81),
        b"bomb.png": bomb(),
    }
    for name, content in contents.items():
        Path(os.fsdecode(os.path.join(os.fsencode(root), name))).write_bytes(content)
    os.mkfifo(root / "pipe.jpg")
    (root / "link.jpg").symlink_to("/etc/passwd")
    served.cli("scan", tmp_path.name, "--wait")
    served.cli("wait", "--timeout", "120")
    files = json.loads(served.cli("repos", "files", tmp_path.name, "--json").stdout)["items"]
    outcomes = {file["path"]: (file["outcome"], file["reason"]) for file in files}
    found = {path: outcome for path, (outcome, _) in outcomes.items()}
    assert found == {
        "empty.jpg": "corrupt",
        "truncated.jpg": "asset",
        "mislabelled.heic": "asset",
        "text.jpg": "unsupported",
        "new\nline.jpg": "asset",
        "invalid-\\xff\\xfe.jpg": "asset",
        "good.jpg": "asset",
        "bomb.png": found["bomb.png"],
        "pipe.jpg": "ignored",
        "link.jpg": "ignored",
    }
    assert found["bomb.png"] in {"too_large", "asset"}
    assert outcomes["empty.jpg"][1].startswith("empty: ")
    assert outcomes["text.jpg"][1].startswith("unsupported: ")
    for name, content in contents.items():
        assert Path(os.fsdecode(os.path.join(os.fsencode(root), name))).read_bytes() == content


def bomb() -> bytes:
    out = io.BytesIO()
    Image.new("1", (40_000, 40_000)).save(out, "PNG", compress_level=9)
    return out.getvalue()


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_unreadable(served: Daemon, root: Path, tmp_path: Path) -> None:
    (root / "secret.jpg").write_bytes(photograph(90))
    (root / "secret.jpg").chmod(0)
    served.cli("scan", tmp_path.name, "--wait")
    served.cli("wait", "--timeout", "60")
    [file] = json.loads(served.cli("repos", "files", tmp_path.name, "--json").stdout)["items"]
    assert file["outcome"] == "unreadable"


def test_a_full_disk_while_staging(make_daemon: Callable[..., Daemon], tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", disk], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("only a user who may mount can fill a disk")
    try:
        config = tmp_path / "lumiliod.toml"
        config.write_text("[storage]\nmin_free_mb = 0\n")
        daemon = make_daemon("--config", str(config)).start()
        daemon.cli("repos", "add", str(disk), "--name", "small")
        status, problem = post(daemon, "small", os.urandom(8 << 20))
        assert (status, problem["code"]) == (507, "no_space")
        assert left_behind(disk) == []
        small = photograph(5)
        assert len(small) < 1 << 20
        assert post(daemon, "small", small)[0] == 202
        daemon.cli("wait", "--timeout", "60")
        assert len(left_behind(disk)) == 1
        assert daemon.stop() == 0
    finally:
        subprocess.run(["umount", "-l", disk], check=False)


def test_an_offline_repository_is_not_an_empty_one(served: Daemon, root: Path, tmp_path: Path) -> None:
    (root / "kept.jpg").write_bytes(photograph(60))
    served.cli("scan", tmp_path.name, "--wait")
    served.cli("wait", "--timeout", "60")
    away = tmp_path / "away"
    root.rename(away)
    root.mkdir()
    served.cli("scan", tmp_path.name)
    with served.client as client:
        wait_until(lambda: any(job.errors for job in client.jobs(kind="scan", state="retryable").items))
        [file] = list(client.files(tmp_path.name))
        assert file.outcome == "asset"
        with pytest.raises(ApiError) as caught:
            client.upload(str(away / "kept.jpg"), repository=tmp_path.name)
        assert caught.value.problem.code == "repository_offline"
    root.rmdir()
    away.rename(root)
    served.cli("wait", "--timeout", "60")


def wait_until(holds: Callable[[], bool]) -> None:
    pause = threading.Event()
    for _ in range(1200):
        if holds():
            return
        pause.wait(0.05)
    raise AssertionError("it never held")
