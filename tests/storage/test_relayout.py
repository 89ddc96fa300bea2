"""Moving files within an inbox: nothing is replaced, nothing leaves it, whatever lies in the way."""

import errno
import itertools
import os
import subprocess
from contextlib import ExitStack
from pathlib import Path

import pytest
from blake3 import blake3

from lumiliod.domain.assets import FileStat
from lumiliod.domain.errors import LumilioError, Unavailable
from lumiliod.domain.ids import Digest, RepoPath
from lumiliod.storage import derivatives, durable, relayout
from lumiliod.storage.local import stat_of
from lumiliod.storage.relayout import How
from lumiliod.storage.repository import Repository
from tests import meanwhile

A, OTHER = b"bytes of a", b"other byte"


def digest_of(content: bytes) -> Digest:
    return Digest(blake3(content).hexdigest())


def add(repo: Repository, path: str, content: bytes = A) -> FileStat:
    place = Path(repo.root, path)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(content)
    return stat_of(place.stat())


def read(repo: Repository, path: str) -> bytes:
    return Path(repo.root, path).read_bytes()


def move(repo: Repository, source: str, *names: str, known: FileStat, verify: bool = False) -> relayout.Look:
    """Look and do; return what was seen."""
    paths = [RepoPath(name) for name in names]
    seen = relayout.look(repo, RepoPath(source), paths, known, digest_of(A), verify=verify)
    assert relayout.carry_out(repo, seen, digest_of(A)).size_bytes == len(A)
    return seen


def code(repo: Repository, source: str, *names: str, known: FileStat, verify: bool = False) -> str:
    before = everything(repo)
    with pytest.raises(LumilioError) as caught:
        move(repo, source, *names, known=known, verify=verify)
    assert everything(repo) == before
    return f"{type(caught.value).__name__}.{caught.value.code}"


def everything(repo: Repository) -> dict[str, bytes | None]:
    return {str(path): path.read_bytes() if path.is_file() else None for path in Path(repo.root).rglob("*")}


def test_a_file_keeps_what_it_is(repo: Repository) -> None:
    known = add(repo, "inbox/a.jpg")
    seen = move(repo, "inbox/a.jpg", "inbox/x/y/a.jpg", known=known)
    assert (seen.how, stat_of(Path(repo.root, "inbox/x/y/a.jpg").stat())) == (How.MOVE, known)
    assert not Path(repo.root, "inbox/a.jpg").exists()


def test_a_folder_that_goes_is_made_again(repo: Repository) -> None:
    known = add(repo, "inbox/a.jpg")
    with meanwhile.before("open", meanwhile.removing(Path(repo.root, "inbox", "x"), 3)):
        move(repo, "inbox/a.jpg", "inbox/x/a.jpg", known=known)
    assert read(repo, "inbox/x/a.jpg") == A


def test_doing_it_again_finds_it(repo: Repository) -> None:
    known = add(repo, "inbox/a.jpg")
    move(repo, "inbox/a.jpg", "inbox/b.jpg", known=known)
    seen = move(repo, "inbox/a.jpg", "inbox/z.jpg", "inbox/b.jpg", known=known)
    assert (seen.how, seen.target) == (How.ARRIVED, "inbox/b.jpg")
    # a copy has another inode; its bytes tell
    Path(repo.root, "inbox/b.jpg").unlink()
    add(repo, "inbox/c.jpg")
    assert move(repo, "inbox/a.jpg", "inbox/c.jpg", known=known).how is How.ARRIVED
    assert code(repo, "inbox/a.jpg", "inbox/d.jpg", known=known) == "NotFound.file_missing"


def test_nothing_is_replaced(repo: Repository) -> None:
    known = add(repo, "inbox/a.jpg")
    add(repo, "inbox/taken.jpg", OTHER)
    Path(repo.root, "inbox/folder.jpg").mkdir()
    Path(repo.root, "inbox/link.jpg").symlink_to(Path(repo.root, "inbox/a.jpg"))
    taken = ("inbox/taken.jpg", "inbox/folder.jpg", "inbox/link.jpg")
    assert code(repo, "inbox/a.jpg", *taken, known=known) == "Conflict.name_taken"
    assert move(repo, "inbox/a.jpg", *taken, "inbox/free.jpg", known=known).target == "inbox/free.jpg"
    assert read(repo, "inbox/taken.jpg") == OTHER


def test_what_takes_the_name_after_the_look_stays(repo: Repository) -> None:
    known = add(repo, "inbox/a.jpg")
    seen = relayout.look(repo, RepoPath("inbox/a.jpg"), [RepoPath("inbox/b.jpg")], known, digest_of(A))
    add(repo, "inbox/b.jpg", OTHER)
    with pytest.raises(LumilioError) as caught:
        relayout.carry_out(repo, seen, digest_of(A))
    assert caught.value.code == "unstable"
    assert (read(repo, "inbox/a.jpg"), read(repo, "inbox/b.jpg")) == (A, OTHER)


def test_what_took_the_files_place_after_the_look_stays(repo: Repository) -> None:
    known = add(repo, "inbox/a.jpg")
    seen = relayout.look(repo, RepoPath("inbox/a.jpg"), [RepoPath("inbox/b.jpg")], known, digest_of(A))
    os.replace(Path(repo.root, "inbox/a.jpg"), Path(repo.root, "inbox/kept.jpg"))
    add(repo, "inbox/a.jpg", OTHER)
    with pytest.raises(LumilioError) as caught:
        relayout.carry_out(repo, seen, digest_of(A))
    assert caught.value.code == "unstable"
    assert (read(repo, "inbox/a.jpg"), read(repo, "inbox/kept.jpg")) == (OTHER, A)


def test_the_same_bytes_are_kept_once(repo: Repository) -> None:
    known = add(repo, "inbox/a.jpg")
    kept = add(repo, "inbox/b.jpg")
    seen = move(repo, "inbox/a.jpg", "inbox/b.jpg", known=known)
    assert (seen.how, seen.keeps_another) == (How.MERGE, True)
    assert stat_of(Path(repo.root, "inbox/b.jpg").stat()) == kept
    assert not Path(repo.root, "inbox/a.jpg").exists()
    back = relayout.look_back(repo, RepoPath("inbox/b.jpg"), RepoPath("inbox/a.jpg"), digest_of(A))
    assert back.how is How.COPY
    relayout.carry_out(repo, back, digest_of(A))
    assert (read(repo, "inbox/a.jpg"), read(repo, "inbox/b.jpg")) == (A, A)
    assert Path(repo.root, "inbox/a.jpg").stat().st_ino != Path(repo.root, "inbox/b.jpg").stat().st_ino
    assert os.listdir(repo.temp) == []


def test_a_copy_is_not_swept_while_it_is_made(repo: Repository) -> None:
    """A daemon that starts sweeps our temp folder while a worker moves files."""
    swept = list[str]()
    add(repo, "inbox/b.jpg")
    back = relayout.look_back(repo, RepoPath("inbox/b.jpg"), RepoPath("inbox/a.jpg"), digest_of(A))
    with meanwhile.before("os.utime", lambda _args: swept.extend(derivatives.sweep_scratch(repo))):
        relayout.carry_out(repo, back, digest_of(A))
    assert swept == []
    assert (read(repo, "inbox/a.jpg"), os.listdir(repo.temp)) == (A, [])


@pytest.mark.parametrize("where", ["prepared", "prepared elsewhere", "made in the end"])
def test_between_file_systems_a_verified_copy_goes(
    repo: Repository, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    known = add(repo, "inbox/a.jpg")
    rename = durable.rename_new
    refused: list[str] = []

    def elsewhere(source: str, target: str, **folders: int) -> None:
        # what is on the same file system, as far as can be told, need not be so for a rename
        if source == "a.jpg" or (where == "prepared elsewhere" and not refused):
            refused.append(source)
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        rename(source, target, **folders)

    monkeypatch.setattr(durable, "rename_new", elsewhere)
    if where == "prepared":
        # all on file systems of their own: the copy lies beside its target
        devices = itertools.count()
        monkeypatch.setattr(relayout, "_device", lambda _: next(devices))
    elif where == "prepared elsewhere":
        monkeypatch.setattr(
            relayout, "_device", lambda folder: os.readlink(f"/proc/self/fd/{folder}").endswith("inbox")
        )
    seen = relayout.look(repo, RepoPath("inbox/a.jpg"), [RepoPath("inbox/x/b.jpg")], known, digest_of(A))
    with ExitStack() as held:
        copy = relayout.prepare(repo, seen, digest_of(A))
        if copy is not None:
            held.callback(copy.forget)
            # whoever sweeps lets it be, and no name was taken or given up yet
            assert derivatives.sweep_scratch(repo) == []
            assert (read(repo, "inbox/a.jpg"), Path(repo.root, "inbox/x/b.jpg").exists()) == (A, False)
        assert (copy is None) == (where == "made in the end")
        found = relayout.carry_out(repo, seen, digest_of(A), copy)
    assert (found.size_bytes, found.mtime_ns) == (known.size_bytes, known.mtime_ns)
    assert [name for name in everything(repo) if "inbox/" in name] == [
        f"{repo.root}/inbox/x",
        f"{repo.root}/inbox/x/b.jpg",
    ]
    assert os.listdir(repo.temp) == []


def test_a_copy_that_is_given_up_leaves_nothing(repo: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    known = add(repo, "inbox/a.jpg")
    before = everything(repo)
    devices = itertools.count()
    monkeypatch.setattr(relayout, "_device", lambda _: next(devices))
    seen = relayout.look(repo, RepoPath("inbox/a.jpg"), [RepoPath("inbox/b.jpg")], known, digest_of(A))
    copy = relayout.prepare(repo, seen, digest_of(A))
    assert copy is not None
    copy.forget()
    assert everything(repo) == before
    # or it changes while it is copied
    Path(repo.root, "inbox/a.jpg").write_bytes(OTHER)
    with pytest.raises(Unavailable) as caught:
        relayout.prepare(repo, seen, digest_of(A))
    assert caught.value.code == "unstable"
    assert everything(repo).keys() == before.keys()


def test_a_damaged_file_is_no_reason_to_let_a_good_one_go(repo: Repository) -> None:
    known = add(repo, "inbox/a.jpg")
    rotten = Path(repo.root, "inbox/b.jpg")
    rotten.write_bytes(OTHER)
    os.utime(rotten, ns=(known.mtime_ns, known.mtime_ns))
    assert code(repo, "inbox/a.jpg", "inbox/b.jpg", known=known) == "Conflict.name_taken"
    # nor the other way round: the source is not what it was, though it looks so
    add(repo, "inbox/c.jpg")
    source = Path(repo.root, "inbox/a.jpg")
    times = source.stat()
    with source.open("r+b") as file:
        file.write(OTHER)
    os.utime(source, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert code(repo, "inbox/a.jpg", "inbox/c.jpg", known=known) == "Conflict.name_taken"


def test_two_names_of_one_file_become_one(repo: Repository) -> None:
    known = add(repo, "inbox/a.jpg")
    os.link(Path(repo.root, "inbox/a.jpg"), Path(repo.root, "inbox/b.jpg"))
    seen = move(repo, "inbox/a.jpg", "inbox/b.jpg", known=known)
    assert (seen.how, seen.keeps_another) == (How.MERGE, False)
    assert os.listdir(repo.inbox) == ["b.jpg"]


def test_two_names_of_a_file_that_no_digest_is_known_of_become_one(repo: Repository) -> None:
    """What a power failure may leave of a rename."""
    known = add(repo, "inbox/a.xmp")
    os.link(Path(repo.root, "inbox/a.xmp"), Path(repo.root, "inbox/b.xmp"))
    seen = relayout.look(repo, RepoPath("inbox/a.xmp"), [RepoPath("inbox/b.xmp")], known, None)
    assert (seen.how, seen.keeps_another) == (How.MERGE, False)
    assert relayout.carry_out(repo, seen, None) == known
    assert sorted(os.listdir(repo.inbox)) == ["b.xmp"]


def test_only_the_bytes_on_record_move(repo: Repository) -> None:
    known = add(repo, "inbox/a.jpg")
    os.utime(Path(repo.root, "inbox/a.jpg"), ns=(1, 1))
    assert move(repo, "inbox/a.jpg", "inbox/touched.jpg", known=known).stat.mtime_ns == 1
    known = add(repo, "inbox/b.jpg")
    add(repo, "inbox/b.jpg", b"edited")
    assert code(repo, "inbox/b.jpg", "inbox/c.jpg", known=known) == "Permanent.changed"
    known = add(repo, "inbox/d.jpg", OTHER)  # as rot leaves it: nothing but the bytes tells
    assert code(repo, "inbox/d.jpg", "inbox/e.jpg", known=known, verify=True) == "Permanent.changed"
    move(repo, "inbox/d.jpg", "inbox/e.jpg", known=known)


def test_a_sidecar_moves_as_it_is_on_record(repo: Repository) -> None:
    known = add(repo, "inbox/a.xmp", b"x")
    paths = [RepoPath("inbox/b.xmp")]
    seen = relayout.look(repo, RepoPath("inbox/a.xmp"), paths, known, None)
    relayout.carry_out(repo, seen, None)
    assert read(repo, "inbox/b.xmp") == b"x"
    Path(repo.root, "inbox/b.xmp").write_bytes(b"edited")
    with pytest.raises(LumilioError) as caught:
        relayout.look(repo, RepoPath("inbox/b.xmp"), paths, known, None)
    assert caught.value.code == "changed"


@pytest.mark.parametrize(
    "path",
    ["../a.jpg", "inbox/../../a.jpg", "/etc/passwd", "inbox//a.jpg", "inbox/./a.jpg", "inbox", ".lumilio/trash/a",
     ".lumiliorepo", "Trip/a.jpg", "inbox/\0", "inboxes/a.jpg"],
)  # fmt: skip
def test_no_name_leads_out_of_the_inbox(repo: Repository, path: str) -> None:
    known = add(repo, "inbox/a.jpg")
    add(repo, "Trip/a.jpg")
    assert code(repo, "inbox/a.jpg", path, known=known) == "Shape.bad_path"
    assert code(repo, path, "inbox/b.jpg", known=known) == "Shape.bad_path"


def test_links_lead_nowhere(repo: Repository, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "a.jpg").write_bytes(A)
    Path(repo.root, "inbox/2024").symlink_to(outside)
    known = add(repo, "inbox/a.jpg")
    assert code(repo, "inbox/a.jpg", "inbox/2024/b.jpg", known=known) == "Conflict.folder_taken"
    assert code(repo, "inbox/2024/a.jpg", "inbox/b.jpg", known=known) == "Conflict.folder_taken"
    Path(repo.root, "inbox/link.jpg").symlink_to(outside / "a.jpg")
    assert code(repo, "inbox/link.jpg", "inbox/b.jpg", known=known) == "Permanent.unreadable"
    assert os.listdir(outside) == ["a.jpg"]
    add(repo, "inbox/2023", OTHER)
    assert code(repo, "inbox/a.jpg", "inbox/2023/b.jpg", known=known) == "Conflict.folder_taken"
    assert relayout.forget_empty(repo, "inbox/2024") == 0
    assert Path(repo.root, "inbox/2024").is_symlink()


def test_a_root_that_is_another_says_nothing_of_its_files(repo: Repository, tmp_path: Path) -> None:
    known = add(repo, "inbox/a.jpg")
    Path(repo.root).rename(tmp_path / "away")
    Path(repo.root).mkdir()
    for act in (
        lambda: relayout.look(repo, RepoPath("inbox/a.jpg"), [RepoPath("inbox/b.jpg")], known, digest_of(A)),
        lambda: relayout.forget_empty(repo, "inbox/x"),
        lambda: relayout.look_back(repo, RepoPath("inbox/a.jpg"), RepoPath("inbox/b.jpg"), digest_of(A)),
    ):
        with pytest.raises(LumilioError) as caught:
            act()
        assert (caught.value.code, caught.value.detail["reason"]) == ("repository_offline", "root_empty")


def test_empty_folders_go_and_no_others(repo: Repository) -> None:
    add(repo, "inbox/2024/05/a.jpg")
    Path(repo.root, "inbox/2024/06/deep").mkdir(parents=True)
    assert relayout.forget_empty(repo, "inbox/2024/06/deep") == 2
    assert relayout.forget_empty(repo, "inbox/2024/05") == 0
    Path(repo.root, "inbox/2024/05/a.jpg").unlink()
    assert relayout.forget_empty(repo, "inbox/2024/05/gone/already") == 2
    assert os.listdir(repo.inbox) == []
    for folder in ("inbox", "", "Trip", "../x", "inbox/../.lumilio/trash", ".lumilio/trash"):
        assert relayout.forget_empty(repo, folder) == 0
    assert Path(repo.trash).is_dir()


def test_between_file_systems_a_file_is_copied(repo: Repository, small_disk: Path) -> None:
    inside = Path(repo.root, "inbox/disk")
    inside.mkdir()
    subprocess.run(["mount", "--bind", small_disk, inside], check=True)
    try:
        known = add(repo, "inbox/disk/a.jpg")
        assert relayout.bytes_elsewhere(repo, {"inbox/disk": 7, "inbox": 5, "inbox/none": 3}) == 7
        move(repo, "inbox/disk/a.jpg", "inbox/a.jpg", known=known)
        assert (read(repo, "inbox/a.jpg"), os.listdir(inside)) == (A, [])
        back = stat_of(Path(repo.root, "inbox/a.jpg").stat())
        assert back.mtime_ns == known.mtime_ns
        move(repo, "inbox/a.jpg", "inbox/disk/b.jpg", known=back)
        assert os.listdir(inside) == ["b.jpg"]
        assert os.listdir(repo.temp) == []
    finally:
        subprocess.run(["umount", "-l", inside], check=True)
