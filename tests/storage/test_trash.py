import errno
import json
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest
from blake3 import blake3

from lumiliod.domain.assets import FileStat
from lumiliod.domain.errors import LumilioError, NotFound, Permanent, Shape, Unavailable
from lumiliod.domain.ids import RepoPath
from lumiliod.domain.repositories import DuplicateNames
from lumiliod.storage import durable, trash, trash_entry, trash_note, trash_return
from lumiliod.storage.local import stat_of
from lumiliod.storage.repository import Repository
from lumiliod.storage.trash_note import Note
from tests import meanwhile
from tests.disks import tmpfs

BYTES = b"bytes of a picture"


def note_of(repo: Repository, path: str = "inbox/a.jpg", content: bytes = BYTES) -> Note:
    return Note(
        id=uuid4(),
        repository_id=repo.id,
        asset_id=UUID(int=1),
        owner_id=UUID(int=2),
        digest=blake3(content).hexdigest(),
        size_bytes=len(content),
        original_filename="a.jpg",
        mime_type="image/jpeg",
        why="removed",
        deleted_at=datetime(2026, 1, 1, tzinfo=UTC),
        **trash_note.paths(RepoPath(path)),  # type: ignore[arg-type]
    )


def write(repo: Repository, path: str = "inbox/a.jpg", content: bytes = BYTES) -> tuple[Path, FileStat]:
    place = Path(repo.root, path)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(content)
    return place, stat_of(place.stat())


def bind(file: Path) -> socket.socket:
    """Put a socket where a file was; the folder's path may be too long for its address."""
    folder = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(f"/proc/self/fd/{folder}/{file.name}")
            return listener
    finally:
        os.close(folder)


def kept(repo: Repository, note: Note) -> Path:
    return Path(repo.trash, str(note.id))


def put(repo: Repository, path: str = "inbox/a.jpg") -> tuple[Path, Note, FileStat]:
    place, stat = write(repo, path)
    note = note_of(repo, path)
    return place, note, trash_entry.put(repo, note, stat)


@pytest.fixture
def other_disk(repo: Repository) -> Iterator[Path]:
    """Another file system mounted in the user area; skipped where none can be mounted."""
    with tmpfs(Path(repo.root, "Trip"), "4m") as path:
        yield path


def test_there_and_back(repo: Repository) -> None:
    place, note, stat = put(repo)
    assert not place.exists()
    assert stat == stat_of(kept(repo, note).stat())
    assert trash_entry.put(repo, note, stat) == stat  # again
    trash.verify(repo, note, stat)
    assert trash_return.take_back(repo, note, stat, "rename") == ("inbox/a.jpg", stat)
    assert place.read_bytes() == BYTES
    assert not kept(repo, note).exists()
    assert trash_return.take_back(repo, note, stat, "rename") == ("inbox/a.jpg", stat)  # again
    assert os.listdir(repo.temp) == []


def test_the_note_tells_everything(repo: Repository) -> None:
    path = "inbox/" + os.fsdecode(b"latin-\xe9.jpg")
    _, note, _ = put(repo, path)
    told = json.loads(Path(repo.trash, f"{note.id}.json").read_bytes())
    assert told["path"] == "inbox/latin-\\xe9.jpg"
    assert (told["asset_id"], told["digest"], told["repository_id"]) == (str(note.asset_id), note.digest, str(repo.id))
    read = trash_note.read(repo, note.id)
    assert read == note
    assert read is not None
    assert read.place == path


@pytest.mark.parametrize(("naming", "expected"), [("rename", "a (1).jpg"), ("overwrite", "a (1).jpg"), ("uuid", "a_")])
def test_nothing_gives_way_to_what_comes_back(repo: Repository, naming: DuplicateNames, expected: str) -> None:
    place, note, stat = put(repo)
    place.write_bytes(b"newer")
    path, _ = trash_return.take_back(repo, note, stat, naming)
    assert path.startswith(f"inbox/{expected}")
    assert place.read_bytes() == b"newer"
    assert Path(repo.root, path).read_bytes() == BYTES
    assert trash_return.take_back(repo, note, stat, naming)[0] == path  # found again


def test_the_same_bytes_in_its_place_are_another_file(repo: Repository) -> None:
    place, note, stat = put(repo)
    place.write_bytes(BYTES)
    os.utime(place, ns=(stat.mtime_ns, stat.mtime_ns))
    assert trash_return.take_back(repo, note, stat, "rename")[0] == "inbox/a (1).jpg"
    assert place.read_bytes() == BYTES


def test_a_folder_that_is_none_any_more(repo: Repository) -> None:
    _, note, stat = put(repo, "inbox/2024/a.jpg")
    Path(repo.root, "inbox", "2024").rmdir()
    Path(repo.root, "inbox", "2024").write_bytes(b"a file now")
    assert trash_return.take_back(repo, note, stat, "rename")[0] == "inbox/a.jpg"
    assert trash_return.take_back(repo, note, stat, "rename")[0] == "inbox/a.jpg"


def test_a_lost_folder_is_made_again(repo: Repository) -> None:
    _, note, stat = put(repo, "inbox/2024/07/a.jpg")
    Path(repo.root, "inbox", "2024", "07").rmdir()
    Path(repo.root, "inbox", "2024").rmdir()
    assert trash_return.take_back(repo, note, stat, "rename")[0] == "inbox/2024/07/a.jpg"


def test_a_folder_that_goes_while_it_comes_back_is_made_again(repo: Repository) -> None:
    _, note, stat = put(repo, "inbox/2024/07/a.jpg")
    with meanwhile.before("open", meanwhile.removing(Path(repo.root, "inbox", "2024", "07"), 3)):
        path, _ = trash_return.take_back(repo, note, stat, "rename")
    assert path == "inbox/2024/07/a.jpg"
    assert Path(repo.root, path).read_bytes() == BYTES


def test_other_bytes_at_its_place_stay(repo: Repository) -> None:
    place, stat = write(repo)
    place.write_bytes(b"edited")
    with pytest.raises(Permanent) as caught:
        trash_entry.put(repo, note_of(repo), stat)
    assert caught.value.code == "changed"
    place.write_bytes(BYTES[::-1])  # of the same size
    with pytest.raises(Permanent):
        trash_entry.put(repo, note_of(repo), stat)
    assert place.read_bytes() == BYTES[::-1]
    assert os.listdir(repo.trash) == []


def test_a_touched_file_is_the_same(repo: Repository) -> None:
    place, stat = write(repo)
    os.utime(place, ns=(1, 1))
    note = note_of(repo)
    assert trash_entry.put(repo, note, stat).mtime_ns == 1
    assert not place.exists()


def test_what_is_nowhere_is_missing(repo: Repository) -> None:
    place, stat = write(repo)
    place.unlink()
    note = note_of(repo)
    for act in (lambda: trash_entry.put(repo, note, stat), lambda: trash_return.take_back(repo, note, stat, "rename")):
        with pytest.raises(NotFound) as caught:
            act()
        assert caught.value.code == "file_missing"


def test_a_link_at_its_place_is_not_followed(repo: Repository, tmp_path: Path) -> None:
    place, stat = write(repo)
    outside = tmp_path / "outside.jpg"
    place.rename(outside)
    place.symlink_to(outside)
    with pytest.raises(Permanent):
        trash_entry.put(repo, note_of(repo), stat)
    inbox = Path(repo.inbox)
    place.unlink()
    inbox.rmdir()
    inbox.symlink_to(tmp_path)
    write(repo, "../a.jpg")
    with pytest.raises(Permanent):
        trash_entry.put(repo, note_of(repo), stat)
    assert outside.read_bytes() == BYTES


def test_replaced_while_it_is_moved(repo: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    """What somebody put there in the last moment goes back to where they put it."""
    place, stat = write(repo)
    rename = durable.rename_new

    def late(source: str, target: str, **folders: int) -> None:
        monkeypatch.setattr(durable, "rename_new", rename)
        newer = place.with_name("newer")
        newer.write_bytes(b"theirs")
        newer.replace(place)
        rename(source, target, **folders)

    monkeypatch.setattr(durable, "rename_new", late)
    note = note_of(repo)
    with pytest.raises(Unavailable) as caught:
        trash_entry.put(repo, note, stat)
    assert caught.value.code == "unstable"
    assert place.read_bytes() == b"theirs"
    assert not kept(repo, note).exists()


@pytest.mark.parametrize("at", ["a.jpg", ".json.tmp"], ids=["before it is opened", "before it is moved"])
@pytest.mark.parametrize("is_saved_anew", [False, True], ids=["gone", "saved anew"])
def test_moved_by_another_process_meanwhile(repo: Repository, at: str, is_saved_anew: bool) -> None:
    """Two that do the same work: who comes second finds the file in the trash, and never says that it is lost."""
    place, stat = write(repo)
    note, others = note_of(repo), list[FileStat]()

    def move(args: tuple[Any, ...]) -> None:
        if not others and isinstance(args[0], str) and args[0].endswith(at):
            others.append(trash_entry.put(repo, note, stat))
            if is_saved_anew:
                place.write_bytes(b"another picture")

    with meanwhile.before("open", move), suppress(Unavailable):
        assert trash_entry.put(repo, note, stat) == others[0]
    assert others == [trash_entry.put(repo, note, stat)]
    assert kept(repo, note).read_bytes() == BYTES
    assert place.exists() == is_saved_anew
    assert not is_saved_anew or place.read_bytes() == b"another picture"


def test_a_claimed_name_is_given_up_only_while_it_is_ours(repo: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where names can neither be linked nor renamed without replacing, and another process was faster."""
    monkeypatch.setattr(durable, "_renameat2", lambda *_: False)
    monkeypatch.setattr(durable, "NO_LINK_ERRNOS", frozenset({errno.ENOENT}))
    place, note = write(repo)[0], note_of(repo)
    with meanwhile.before("os.link", lambda _args: place.rename(f"{place}.away")):
        folder = os.open(repo.trash, os.O_RDONLY)
        try:
            with (
                meanwhile.before("os.rename", lambda _args: os.rename(f"{place}.away", kept(repo, note))),
                pytest.raises(FileNotFoundError),
            ):
                durable.rename_new(str(place), str(note.id), target_fd=folder)
        finally:
            os.close(folder)
    assert kept(repo, note).read_bytes() == BYTES


def test_links_made_instead_of_renames(repo: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where renameat2(2) is missing: also when the name was linked and not yet unlinked."""
    monkeypatch.setattr(durable, "_renameat2", lambda *_: False)
    place, note, stat = put(repo)
    os.link(kept(repo, note), place)
    assert trash_entry.put(repo, note, stat) == stat
    assert not place.exists()
    os.link(kept(repo, note), place)
    assert trash_return.take_back(repo, note, stat, "rename") == ("inbox/a.jpg", stat)
    assert not kept(repo, note).exists()
    assert place.read_bytes() == BYTES


def test_across_file_systems(repo: Repository, other_disk: Path) -> None:
    place, note, stat = put(repo, "Trip/a.jpg")
    assert not place.exists()
    assert kept(repo, note).read_bytes() == BYTES
    assert (stat.mtime_ns, stat.inode) == (kept(repo, note).stat().st_mtime_ns, kept(repo, note).stat().st_ino)
    path, back = trash_return.take_back(repo, note, stat, "rename")
    assert (path, place.read_bytes(), back.mtime_ns) == ("Trip/a.jpg", BYTES, stat.mtime_ns)
    assert os.listdir(repo.temp) == []
    assert os.listdir(other_disk) == ["a.jpg"]
    assert not kept(repo, note).exists()


def test_across_file_systems_killed_before_the_first_is_unlinked(repo: Repository, other_disk: Path) -> None:
    place, stat = write(repo, "Trip/a.jpg")
    note = note_of(repo, "Trip/a.jpg")
    kept(repo, note).write_bytes(BYTES)
    os.utime(kept(repo, note), ns=(stat.mtime_ns, stat.mtime_ns))
    there = trash_entry.put(repo, note, stat)
    assert not place.exists()
    place.write_bytes(BYTES)
    os.utime(place, ns=(stat.mtime_ns, stat.mtime_ns))
    assert trash_return.take_back(repo, note, there, "rename")[0] == "Trip/a.jpg"
    assert not kept(repo, note).exists()
    assert os.listdir(other_disk) == ["a.jpg"]


def leftover(repo: Repository, path: str) -> tuple[Path, Note, FileStat]:
    """Leave what a crash leaves between the copy in the trash and the unlink of the first."""
    place, stat = write(repo, path)
    note = note_of(repo, path)
    kept(repo, note).write_bytes(BYTES)
    os.utime(kept(repo, note), ns=(stat.mtime_ns, stat.mtime_ns))
    return place, note, stat


def save_by_rename(place: Path) -> None:
    newer = place.with_name("newer")
    newer.write_bytes(b"theirs")
    newer.replace(place)


@pytest.mark.parametrize(
    "save", [save_by_rename, lambda place: place.write_bytes(b"theirs")], ids=["renamed", "written"]
)
def test_what_a_person_saves_while_the_trash_is_read_stays(repo: Repository, save: Callable[[Path], object]) -> None:
    place, note, stat = leftover(repo, "Trip/a.jpg")
    with (
        meanwhile.before("open", lambda args: save(place) if args[0] == str(note.id) else None),
        pytest.raises(Unavailable) as caught,
    ):
        trash_entry.put(repo, note, stat)
    assert caught.value.code == "unstable"
    assert os.listdir(place.parent) == ["a.jpg"]
    assert place.read_bytes() == b"theirs"
    assert trash_entry.put(repo, note, stat) == stat_of(kept(repo, note).stat())
    assert place.read_bytes() == b"theirs"


def test_what_a_person_saves_just_before_the_unlink_stays(repo: Repository) -> None:
    """Also when the machine stops right then."""
    place, note, stat = leftover(repo, "Trip/a.jpg")
    save_by_rename(place)
    place.rename(place.with_name(f".lumilio-{note.id}.gone"))
    assert trash_entry.put(repo, note, stat) == stat_of(kept(repo, note).stat())
    assert os.listdir(place.parent) == ["a.jpg"]
    assert place.read_bytes() == b"theirs"
    place.rename(place.with_name(f".lumilio-{note.id}.gone"))
    place.write_bytes(b"newer")
    assert trash_entry.put(repo, note, stat) == stat_of(kept(repo, note).stat())
    assert sorted(os.listdir(place.parent)) == ["a (1).jpg", "a.jpg"]
    assert (place.read_bytes(), place.with_name("a (1).jpg").read_bytes()) == (b"newer", b"theirs")


def test_a_disk_that_keeps_other_bytes_than_it_was_given(repo: Repository, other_disk: Path) -> None:
    """A copy counts when it was read back; until then nothing is unlinked."""
    place, stat = write(repo, "Trip/a.jpg")
    note = note_of(repo, "Trip/a.jpg")

    def rot(args: tuple[Any, ...]) -> None:
        os.pwrite(args[0], b"rot", 0)

    with meanwhile.before("os.utime", rot), pytest.raises(Unavailable):
        trash_entry.put(repo, note, stat)
    assert place.read_bytes() == BYTES
    assert not kept(repo, note).exists()
    assert os.listdir(repo.temp) == []


def test_a_file_that_is_written_while_it_is_copied_stays(repo: Repository, other_disk: Path) -> None:
    place, stat = write(repo, "Trip/a.jpg")
    note = note_of(repo, "Trip/a.jpg")
    with (
        meanwhile.before("os.utime", lambda _args: place.write_bytes(b"theirs")),
        pytest.raises(Unavailable),
    ):
        trash_entry.put(repo, note, stat)
    assert place.read_bytes() == b"theirs"


def test_a_half_copy_is_written_anew(repo: Repository, other_disk: Path) -> None:
    _, note, stat = put(repo, "Trip/a.jpg")
    (other_disk / f".lumilio-{note.id}.part").write_bytes(b"half")
    assert trash_return.take_back(repo, note, stat, "rename")[0] == "Trip/a.jpg"
    assert os.listdir(other_disk) == ["a.jpg"]


def test_a_damaged_copy_costs_nothing(repo: Repository, other_disk: Path) -> None:
    """Bytes that are not those of the digest are never moved to another file system and the first unlinked."""
    place, stat = write(repo, "Trip/a.jpg", BYTES[::-1])
    note = note_of(repo, "Trip/a.jpg")  # the stat is as on record, so nothing was read before
    with pytest.raises(Unavailable):
        trash_entry.put(repo, note, stat)
    assert place.read_bytes() == BYTES[::-1]
    assert not kept(repo, note).exists()


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda file: file.write_bytes(BYTES[::-1]), "digest_mismatch"),
        (lambda file: file.write_bytes(b"short"), "changed"),
        (lambda file: (file.rename(f"{file}.old"), file.write_bytes(BYTES[::-1])), "changed"),
        (lambda file: file.unlink(), "file_missing"),
        (lambda file: (file.unlink(), file.mkdir()), "unreadable"),
        (lambda file: (file.rename(f"{file}.old"), file.symlink_to(f"{file}.old")), "unreadable"),
        (lambda file: (file.unlink(), bind(file)), "unreadable"),
    ],
)
def test_only_what_is_on_record_is_verified(repo: Repository, change: "object", code: str) -> None:
    _, note, stat = put(repo)
    change(kept(repo, note))  # type: ignore[operator]
    with pytest.raises(LumilioError) as caught:
        trash.verify(repo, note, stat)
    assert caught.value.code == code


def test_only_what_was_verified_is_removed(repo: Repository) -> None:
    _, note, stat = put(repo)
    file = kept(repo, note)
    file.rename(f"{file}.old")
    file.write_bytes(BYTES[::-1])
    with pytest.raises(Permanent):
        trash.remove(repo, note, stat)
    assert file.read_bytes() == BYTES[::-1]
    Path(f"{file}.old").replace(file)
    assert trash.remove(repo, note, stat) == len(BYTES)
    assert os.listdir(repo.trash) == []
    assert trash.remove(repo, note, stat) == 0


def test_on_another_disk_the_bytes_tell(repo: Repository) -> None:
    """A backup that is restored has other inodes, and other times where it kept none."""
    _, note, stat = put(repo)
    file = kept(repo, note)
    file.rename(f"{file}.old")
    file.write_bytes(BYTES)
    os.utime(file, ns=(1, 1))
    Path(f"{file}.old").unlink()
    verified = trash.verify(repo, note, stat)
    assert verified.inode == file.stat().st_ino
    path, found = trash_return.take_back(repo, note, stat, "rename")
    assert (path, found) == ("inbox/a.jpg", stat_of(Path(repo.root, path).stat()))
    Path(repo.root, path).rename(file)
    assert trash.remove(repo, note, stat) == len(BYTES)


def test_nothing_in_a_repository_that_is_another(repo: Repository) -> None:
    place, note, stat = put(repo)
    marker = Path(repo.root, ".lumiliorepo")
    marker.write_text(marker.read_text().replace(str(repo.id), str(uuid4())))
    for act in (
        lambda: trash.verify(repo, note, stat),
        lambda: trash.remove(repo, note, stat),
        lambda: trash_return.take_back(repo, note, stat, "rename"),
        lambda: trash_entry.put(repo, note, stat),
    ):
        with pytest.raises(Unavailable) as caught:
            act()
        assert caught.value.code == "repository_offline"
    assert kept(repo, note).read_bytes() == BYTES
    assert not place.exists()


@pytest.mark.parametrize(
    "path",
    ["../a.jpg", "/etc/passwd", "inbox/../../a.jpg", ".lumilio/trash/a", ".lumiliorepo", "inbox//a", "", "inbox/a\0b"],
)
def test_no_way_out_of_the_repository(repo: Repository, path: str) -> None:
    note = note_of(repo, path)
    stat = FileStat(len(BYTES), 0, 0)
    with pytest.raises(Shape):
        trash_entry.put(repo, note, stat)
    kept(repo, note).write_bytes(BYTES)
    with pytest.raises(Shape):
        trash_return.take_back(repo, note, stat, "rename")
    trash_note.write(repo, note)
    assert trash_note.read(repo, note.id) is None


def test_notes_that_cannot_be_believed(repo: Repository) -> None:
    _, note, _ = put(repo)
    file = Path(repo.trash, f"{note.id}.json")
    whole = file.read_bytes()
    for wrong in (
        b"",
        b"[]",
        whole[:-1],
        msgspec.json.encode(msgspec.structs.replace(note, id=uuid4())),
        msgspec.json.encode(msgspec.structs.replace(note, repository_id=uuid4())),
        msgspec.json.encode(msgspec.structs.replace(note, digest="../" + note.digest[3:])),
        msgspec.json.encode(msgspec.structs.replace(note, version=2)),
        whole.replace(b"a.jpg", b"\xff.jpg"),
        whole.replace(b'"a.jpg"', b"[" * 30_000),
        whole.replace(b'"version"', b'"x":' + b"[" * 20_000 + b"]" * 20_000 + b',"version"'),
        whole.replace(b"2026-01-01T00:00:00Z", b"2026-01-01T00:00:00"),
    ):
        assert wrong != whole
        file.write_bytes(wrong)
        assert trash_note.read(repo, note.id) is None, wrong
    file.write_bytes(whole)
    assert trash_note.read(repo, note.id) == note
    file.rename(f"{file}.old")
    file.symlink_to(f"{file}.old")
    assert trash_note.read(repo, note.id) is None


def test_what_lies_there(repo: Repository) -> None:
    _, note, _ = put(repo)
    lonely, bare = uuid4(), uuid4()
    Path(repo.trash, f"{lonely}.json.tmp").write_bytes(b"{}")
    Path(repo.trash, str(bare)).write_bytes(b"123")
    Path(repo.trash, "IMG.jpg").write_bytes(b"")
    Path(repo.trash, str(uuid4()).upper()).write_bytes(b"")
    folder = Path(repo.trash, str(uuid4()))
    folder.mkdir()
    found, others = trash.ids(repo)
    assert found == {note.id: len(BYTES), lonely: None, bare: 3}
    assert len(others) == 3
    assert folder.name in others


def test_a_trash_that_is_a_link_is_not_used(repo: Repository, tmp_path: Path) -> None:
    place, stat = write(repo)
    Path(repo.trash).rmdir()
    Path(repo.trash).symlink_to(tmp_path)
    with pytest.raises(Unavailable) as caught:
        trash_entry.put(repo, note_of(repo), stat)
    assert caught.value.code == "repository_damaged"
    assert place.exists()


def test_a_lost_trash_is_made_again(repo: Repository) -> None:
    Path(repo.trash).rmdir()
    _, note, stat = put(repo)
    assert trash.stat_of(repo, note.id) == stat
    assert trash.stat_of(repo, uuid4()) is None
