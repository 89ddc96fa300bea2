"""``lumilio uploads`` and what becomes of a large upload that is interrupted."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from click.testing import CliRunner

from lumiliod.cli.main import program
from lumiliod.client.connection import Connection
from lumiliod.contract.assets import BatchTicket
from tests.api.test_app import FORM, form_of
from tests.conftest import Daemon
from tests.daemon.test_kill import photograph

TUS = {"Tus-Resumable": "1.0.0", "Upload-Metadata": "filename YS5qcGc="}


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (["uploads"], 64),
        (["uploads", "remove"], 64),
        (["uploads", "remove", "--refused", str(uuid4())], 64),
        (["uploads", "list"], 69),
        (["uploads", "remove", str(uuid4())], 69),
    ],
)
def test_exit_codes(line: list[str], code: int) -> None:
    result = CliRunner(env={"LUMILIO_SOCKET": "/nonexistent/s"}).invoke(program, line)
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output


@pytest.fixture
def large(tmp_path: Path) -> Path:
    path = tmp_path / "large.bin"
    with path.open("wb") as file:
        file.truncate(400 << 20)
    return path


def test_the_same_command_goes_on_with_what_was_interrupted(daemon: Daemon, tmp_path: Path, large: Path) -> None:
    (tmp_path / "home").mkdir()
    daemon.cli("repos", "add", str(tmp_path / "home"), "--name", "home")
    daemon.environ["XDG_STATE_HOME"] = str(tmp_path / "state")
    remembered = tmp_path / "state/lumilio/uploads"
    line = [sys.executable, "-m", "lumiliod.cli", "--socket", daemon.socket, "upload", str(large)]
    with subprocess.Popen(line, stderr=subprocess.PIPE, env=daemon.environ, text=True) as uploading:
        until = time.monotonic() + 60
        with daemon.client as client:
            while not any(one.offset for one in client.uploads.under_way().items):
                assert time.monotonic() < until
                time.sleep(0.01)
        uploading.send_signal(signal.SIGINT)
        _, said = uploading.communicate(timeout=60)
    assert uploading.returncode == 130
    assert "the same command goes on with it" in said
    [begun] = listed(daemon)
    assert 0 < begun["offset"] < 400 << 20
    assert [path.read_text() for path in remembered.iterdir()] == [begun["id"]]
    done = daemon.cli("upload", str(large), "--json", check=False)
    assert json.loads(done.stdout)["items"][0]["task_id"]
    assert listed(daemon) == []
    assert list(remembered.iterdir()) == []
    # it holds nothing but zeros; of what is removed nothing is known any more
    [one] = kept(daemon, 1)
    daemon.cli("uploads", "remove", one["id"], "--yes")
    again = daemon.cli("uploads", "remove", one["id"], "--yes", check=False)
    assert (again.returncode, "there is no upload" in again.stderr) == (1, True)


def refused(daemon: Daemon) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(daemon.cli("--json", "uploads", "list", "--refused").stdout)["items"]
    return found


def kept(daemon: Daemon, count: int) -> list[dict[str, Any]]:
    """Return what was refused once it is that many: the job ends a moment before its bytes are set aside."""
    until = time.monotonic() + 30
    while len(found := [one for one in refused(daemon) if one["state"] == "refused"]) != count:
        assert time.monotonic() < until, found
    return found


def test_what_was_refused_is_listed_tried_again_and_removed_with_its_complaint(daemon: Daemon, tmp_path: Path) -> None:
    root = tmp_path / "home"
    root.mkdir()
    daemon.cli("repos", "add", str(root), "--name", "home")
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).write_text(f"{name} is no picture")
        done = daemon.cli("upload", str(tmp_path / name), check=False)
        assert (done.returncode, done.stdout) == (65, "")
        assert f"{name}: refused: the content is no photo" in done.stderr
        assert done.stderr.splitlines()[-1] == (
            "lumilio: 1 file was refused; its bytes are kept. See: lumilio uploads list --refused. "
            "Try again: lumilio jobs retry JOB. Remove: lumilio uploads remove ID."
        )
    first, second = kept(daemon, 2)
    told = (first["state"], first["filename"], first["repository"], first["owner"], first["size_bytes"], first["code"])
    assert told == ("refused", "a.jpg", "home", "admin", 19, "unsupported")
    shown = daemon.cli("uploads", "list")
    assert "a.jpg" in shown.stdout
    assert "no photo, video or audio" in shown.stdout
    assert first["task_id"] in daemon.cli("uploads", "list", "--refused").stdout
    assert "lumilio uploads remove" in shown.stderr

    daemon.cli("queues", "pause", "ingest")
    daemon.cli("jobs", "retry", first["task_id"])
    assert refused(daemon)[0]["state"] == "queued"
    being_tried = daemon.cli("uploads", "remove", first["id"], "--yes", check=False)
    assert (being_tried.returncode, "being tried again" in being_tried.stderr) == (1, True)
    daemon.cli("queues", "resume", "ingest")
    daemon.cli("wait", "--timeout", "60")
    kept(daemon, 2)

    left = "refused: 2 (b.jpg, a.jpg): lumilio uploads list --refused"
    assert daemon.cli("wait").stdout == f"Done; {left}\n"
    assert "2 (b.jpg, a.jpg)" in daemon.cli("status").stdout
    assert daemon.cli("uploads", "remove", first["id"], check=False).returncode == 64  # nobody to ask
    assert len(refused(daemon)) == 2
    assert daemon.cli("uploads", "remove", first["id"], "--yes").stdout == "1 upload removed.\n"
    assert [one["id"] for one in refused(daemon)] == [second["id"]]
    assert json.loads(daemon.cli("--json", "jobs", "show", first["task_id"]).stdout)["state"] == "cancelled"
    status = json.loads(daemon.cli("--json", "status").stdout)
    assert (status["discarded_jobs"], status["refused_uploads"], status["refused_files"]) == (1, 1, ["b.jpg"])
    unknown = "0190a000-0000-7000-8000-000000000000"
    done = daemon.cli("uploads", "remove", unknown, second["id"], "--yes", check=False)
    assert (done.returncode, done.stdout) == (1, "1 upload removed.\n")
    assert f"{unknown} stays: " in done.stderr
    assert refused(daemon) == []

    for name in ("c.jpg", "d.jpg"):
        (tmp_path / name).write_bytes(f"no photograph: {name}".encode())
        daemon.cli("upload", str(tmp_path / name), check=False)
    third, _ = kept(daemon, 2)
    daemon.cli("queues", "pause", "ingest")
    daemon.cli("jobs", "retry", third["task_id"])
    assert daemon.cli("uploads", "remove", "--refused", "--yes").stdout == "1 upload removed.\n"
    assert [one["id"] for one in refused(daemon)] == [third["id"]]
    daemon.cli("queues", "resume", "ingest")
    daemon.cli("wait", "--timeout", "60")
    kept(daemon, 1)
    daemon.cli("uploads", "remove", "--refused", "--yes")
    assert refused(daemon) == []
    assert list((root / ".lumilio/staging/failed").iterdir()) == []
    assert daemon.cli("wait").stdout == ""
    assert "efused" not in daemon.cli("status").stdout

    root.rename(tmp_path / "away")
    daemon.cli("verify", "--all", "--wait", check=False)
    for args in (["list"], ["list", "--refused"], ["remove", "--refused", "--yes"]):
        assert daemon.cli("uploads", *args).stderr == "Not looked into, for they are offline: home.\n"
    for args in (["list"], ["list", "--refused"]):
        told = json.loads(daemon.cli("--json", "uploads", *args).stdout)
        assert (told["items"], told["offline"]) == ([], ["home"])


def listed(daemon: Daemon) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(daemon.cli("--json", "uploads", "list").stdout)["items"]
    return found


def test_what_is_under_way_is_listed_and_given_up(daemon: Daemon, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    daemon.cli("repos", "add", str(tmp_path / "home"), "--name", "home")
    connection = Connection(daemon.socket)
    connection.headers("POST", "/uploads", headers={**TUS, "Upload-Length": "5000000"})
    connection.close()
    [one] = listed(daemon)
    assert (one["filename"], one["offset"], one["size_bytes"], one["repository"]) == ("a.jpg", 0, 5_000_000, "home")
    assert "4.8 MiB" in daemon.cli("uploads", "list").stdout
    daemon.cli("uploads", "remove", one["id"])
    assert listed(daemon) == []
    assert daemon.cli("uploads", "remove", one["id"], check=False).returncode == 1


def test_an_upload_waits_for_what_becomes_of_it_as_long_as_wanted(daemon: Daemon, tmp_path: Path) -> None:
    root = tmp_path / "home"
    root.mkdir()
    daemon.cli("repos", "add", str(root), "--name", "home")
    daemon.cli("queues", "pause", "ingest")
    (tmp_path / "a.jpg").write_bytes(photograph(1))
    at_once = json.loads(daemon.cli("upload", str(tmp_path / "a.jpg"), "--no-wait", "--json").stdout)["items"]
    assert [one["status"] for one in at_once] == ["queued"]
    late = daemon.cli("upload", str(tmp_path / "a.jpg"), "--timeout", "0.2", check=False)
    assert (late.returncode, "queued" in late.stdout, "lumilio wait" in late.stderr) == (75, True, True)
    daemon.cli("queues", "resume", "ingest")
    assert daemon.cli("upload", str(tmp_path / "a.jpg")).returncode == 0
    empty = tmp_path / "empty.jpg"
    empty.touch()
    assert daemon.cli("upload", str(empty), check=False).returncode == 65
    assert daemon.cli("upload", str(tmp_path / "none.jpg"), check=False).returncode == 1
    root.rename(tmp_path / "away")
    assert daemon.cli("upload", str(tmp_path / "a.jpg"), check=False).returncode == 75


def test_which_kind_of_duplicate_it_is(make_daemon: Callable[..., Daemon], tmp_path: Path) -> None:
    config = tmp_path / "lumiliod.toml"
    config.write_text('[storage]\nduplicates = "keep"\n')
    daemon = make_daemon("--config", str(config)).start()
    for name in ("home", "second"):
        (tmp_path / name).mkdir()
        daemon.cli("repos", "add", str(tmp_path / name), "--name", name, "--layout", "flat")
    files = [tmp_path / name for name in ("a.jpg", "b.jpg", "c.jpg")]
    for path, number in zip(files, (1, 1, 2), strict=True):
        path.write_bytes(photograph(number))

    def sent(*names: str, into: str = "home") -> tuple[list[dict[str, Any]], str]:
        paths = [str(tmp_path / name) for name in names]
        told = json.loads(daemon.cli("--json", "upload", *paths, "--repo", into).stdout)["items"]
        return told, daemon.cli("upload", *paths, "--repo", into).stdout

    first, shown = sent("a.jpg", "b.jpg", "c.jpg")
    [new], [twin] = ([one for one in first[:2] if one["outcome"] == kind] for kind in ("asset", "duplicate"))
    assert (twin["duplicate"], twin["same_as"], twin["asset_id"]) == ("twice", new["file"], new["asset_id"])
    assert shown.count(f"duplicate  {new['asset_id']}  the library has these bytes already") == 2
    twins = [str(tmp_path / name) for name in ("d.jpg", "e.jpg")]
    for twin_path in twins:
        Path(twin_path).write_bytes(photograph(3))
    assert "the same bytes as" in daemon.cli("upload", *twins, "--repo", "home").stdout

    [kept], shown = sent("c.jpg", into="second")
    assert (kept["duplicate"], kept["path"]) == ("kept", "inbox/c.jpg")
    assert "kept here, too: inbox/c.jpg" in shown
    daemon.cli("assets", "remove", new["asset_id"])
    daemon.cli("wait", "--timeout", "60")
    [back], _ = sent("a.jpg")
    assert (back["duplicate"], back["asset_id"]) == ("restored", new["asset_id"])
    daemon.cli("wait", "--timeout", "60")
    daemon.cli("assets", "remove", new["asset_id"])
    daemon.cli("wait", "--timeout", "60")
    assert "restored from the trash" in daemon.cli("upload", str(files[0]), "--repo", "home").stdout


def test_a_batch_tells_which_of_its_files_are_the_same(daemon: Daemon, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    daemon.cli("repos", "add", str(tmp_path / "home"), "--name", "home")
    body = form_of(("1", "a.jpg", photograph(1)), ("2", "b.jpg", photograph(2)), ("3", "c.jpg", photograph(1)))
    connection = Connection(daemon.socket)
    batch = connection.call("POST", "/assets/batch", BatchTicket, content=body, headers=dict(FORM))
    connection.close()
    first = batch.accepted[0].task_id
    assert [ticket.same_as for ticket in batch.accepted] == [None, None, first]


def test_a_folder_is_uploaded_with_all_media_below_it(daemon: Daemon, tmp_path: Path) -> None:
    for folder in ("home", "from/b/.hidden", "from/a", "elsewhere"):
        (tmp_path / folder).mkdir(parents=True)
    daemon.cli("repos", "add", str(tmp_path / "home"), "--name", "home")
    source = tmp_path / "from"
    for number, name in enumerate(("b/2.JPG", "b/10.jpg", "a/z.png", "c.jpg", "b/.hidden/x.jpg", ".y.jpg", "._c.jpg")):
        (source / name).write_bytes(photograph(number))
    for name in ("notes.txt", "a/z.xmp", "Thumbs.db"):
        (source / name).write_text(name)
    (tmp_path / "elsewhere/secret.jpg").write_bytes(photograph(50))
    (source / "a/elsewhere").symlink_to(tmp_path / "elsewhere")
    (source / "a/secret.jpg").symlink_to(tmp_path / "elsewhere/secret.jpg")

    usage = daemon.cli("upload", str(source), check=False)
    assert (usage.returncode, "is a folder: -r uploads" in usage.stderr) == (64, True)
    done = daemon.cli("upload", "-r", str(source), str(tmp_path / "elsewhere"))
    sent = [line.split("  ")[0].removeprefix(f"{tmp_path}/") for line in done.stdout.splitlines()]
    assert sent == ["from/a/z.png", "from/b/10.jpg", "from/b/2.JPG", "from/c.jpg", "elsewhere/secret.jpg"]
    told = "left out: 1 droppings of other programs, 3 hidden, 2 no media by their names, 2 symbolic links"
    assert told in done.stderr
    results = json.loads(daemon.cli("--json", "upload", "--recursive", str(source)).stdout)["items"]
    assert [one["outcome"] for one in results] == ["duplicate"] * 4 + [
        "hidden", "hidden", "ignored", "not_media", "link", "link", "not_media", "hidden",
    ]  # fmt: skip
    assert {one["status"] for one in results[4:]} == {"skipped"}


def test_who_may_keep_no_more_is_told_how_much_and_what_to_do(daemon: Daemon, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    daemon.cli("repos", "add", str(tmp_path / "home"), "--name", "home")
    assert "as much as there is room for" in daemon.cli("quota", "show").stdout
    (tmp_path / "a.jpg").write_bytes(photograph(1) + bytes(3 << 20))
    size_bytes = (tmp_path / "a.jpg").stat().st_size
    daemon.cli("quota", "set", "admin", str(size_bytes + (1 << 20)))
    daemon.cli("upload", str(tmp_path / "a.jpg"))
    assert daemon.cli("quota", "show").stdout.splitlines()[-1].split() == ["Left", "1.0", "MiB"]
    (tmp_path / "b.jpg").write_bytes(photograph(2) + bytes(3 << 20))
    told = daemon.cli("upload", str(tmp_path / "b.jpg"), check=False)
    used, wanted = (f"{(tmp_path / name).stat().st_size / (1 << 20):.1f} MiB" for name in ("a.jpg", "b.jpg"))
    assert told.returncode == 1
    assert f"this needs {wanted}; {used} of the" in told.stderr
    assert "2.2 MiB are missing" in told.stderr
    assert "lumilio trash empty" in told.stderr
    over = daemon.cli("quota", "set", "admin", "1MiB")
    assert (over.stdout.splitlines()[-1].split()[:2], "Nothing more is taken" in over.stderr) == (["Over", "by"], True)
