"""Stacks and sidecars: what belongs together follows from what is there, never from when it came."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lumiliod.domain.ids import AssetId, RepoPath
from lumiliod.domain.media import AssetType
from lumiliod.domain.sidecars import Described, owner, read_first
from lumiliod.domain.stacks import MANY, Captured, Member, Place, Role, Stack, StackKind, stacks

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
TYPES = {
    "jpg": "image/jpeg", "jpeg": "image/jpeg", "heic": "image/heic", "hif": "image/heif", "png": "image/png",
    "cr2": "image/x-canon-cr2", "nef": "image/x-nikon-nef", "dng": "image/x-adobe-dng",
    "mov": "video/quicktime", "mp4": "video/mp4", "mp3": "audio/mpeg",
}  # fmt: skip


def type_of(mime: str) -> AssetType:
    return {"i": AssetType.PHOTO, "v": AssetType.VIDEO, "a": AssetType.AUDIO}[mime[0]]


def member(path: str, at_s: float | None = None, *also: str, **told: object) -> Member:
    """Return what a file at ``path`` is, taken ``at_s`` seconds after noon; its id says where it lies."""
    mime = TYPES[path.rpartition(".")[2].lower()]
    places = tuple(Place(one.rpartition("/")[0], one.rpartition("/")[2]) for one in (path, *also))
    captured = None
    if at_s is not None:
        utc = NOON + timedelta(seconds=at_s)
        captured = Captured(utc, utc.replace(tzinfo=None), has_zone=True)
    duration_s = 3.0 if type_of(mime) is AssetType.VIDEO else None
    made = Member(id_of(path), places, type_of(mime), mime, duration_s, captured=captured)
    return replace(made, **told)  # type: ignore[arg-type]  # fields of a member


def id_of(path: str) -> AssetId:
    return AssetId(UUID(int=int.from_bytes(path.encode()[:16].rjust(16, b"\0"))))


def told(found: Iterable[Stack]) -> list[tuple[str, str, list[tuple[str, str]]]]:
    """Return stacks by the names of their members, the cover first of each."""
    said = []
    for stack in found:
        names = {one.id: one.name for one in stack.members}
        said.append((str(stack.kind), names[stack.cover], [(one.name, str(one.role)) for one in stack.members]))
    return sorted(said)


def test_raw_and_jpeg_of_one_name_are_a_pair() -> None:
    [stack] = stacks([member("d/IMG_1.CR2"), member("d/IMG_1.JPG"), member("d/IMG_2.CR2"), member("e/IMG_2.JPG")])
    assert told([stack]) == [("raw_jpeg", "IMG_1.JPG", [("IMG_1.JPG", "photo"), ("IMG_1.CR2", "raw")])]
    assert stack.why == "same name IMG_1.CR2 and IMG_1.JPG in one folder"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (member("a.jpg"), member("A.CR2")),
        (member("IMG_1.CR2"), member("IMG_1-edit.jpg")),
        (member("IMG_1.CR2"), member("IMG_1 (1).jpg")),
        (member("a.jpg"), member("a.heic")),
        (member("a.cr2"), member("a.dng")),
        (member("a.cr2"), member("a.png")),
        (member("a.cr2"), member("a.mov")),
        (member("a.jpg"), member("a.mp3")),
        (member("a.cr2", 0), member("a.jpg", 4)),
        (member("a.cr2", camera="Canon EOS R5"), member("a.jpg", camera="NIKON D850")),
        (member("a.cr2", burst_id="X"), member("a.jpg", burst_id="Y")),
        (member("a.jpg"), member("a.mov", duration_s=11.0)),
        (member("a.jpg"), member("a.mov", duration_s=None)),
        (member("a.jpg", content_id="X"), member("a.mov", content_id="Y")),
        (member("a.jpg", 0), member("a.mov", 31)),
        (member("a.jpg", content_id="X"), member("b.heic", content_id="X")),
        (member(".jpg"), member(".cr2")),
    ],
)
def test_no_pairs(one: Member, other: Member) -> None:
    assert stacks([one, other]) == []


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (member("a.CR2", 0), member("a.jpg", 3)),
        (member("a.Nef"), member("a.JPG", 0)),
        (member("a.cr2", camera="Canon  EOS r5"), member("a.jpg", camera="Canon EOS R5")),
        (member("a.nef"), member("a.hif")),
        (member("a.jpg", 0), member("a.mov", 30)),
        (member("a.jpg", content_id="X"), member("a.mov")),
        (member("a.jpg"), member("a.mov", 30, content_id="X")),
        (member("d/a.jpg", 0, content_id="X"), member("e/b.mov", 3600, content_id="X")),
        (member("a.png", content_id="X"), member("a.mov", content_id="X", duration_s=60.0)),
        (member("inbox/a.cr2"), member("0/b.jpg", None, "inbox/a.jpg")),
    ],
)
def test_pairs(one: Member, other: Member) -> None:
    [stack] = stacks([one, other])
    assert {m.id for m in stack.members} == {one.id, other.id}


def test_a_local_clock_without_a_zone_contradicts_only_beyond_every_zone() -> None:
    def film(hours: float) -> Member:
        utc = NOON + timedelta(hours=hours)
        return member("a.mov", captured=Captured(utc, utc.replace(tzinfo=None), has_zone=False))

    assert len(stacks([member("a.jpg", 0), film(14)])) == 1
    assert stacks([member("a.jpg", 0), film(16)]) == []


def test_a_raw_with_several_stills_shows_one_and_keeps_the_others_as_versions() -> None:
    found = stacks([member("a.CR2", 0), member("a.JPG", 0), member("a.heic", 1), member("a.jpeg", 0)])
    roles = [("a.JPG", "photo"), ("a.jpeg", "version"), ("a.heic", "version"), ("a.CR2", "raw")]
    assert told(found) == [("raw_jpeg", "a.JPG", roles)]


def test_two_pairs_of_one_name_are_told_apart_by_their_times() -> None:
    found = stacks([member("a.CR2", 0), member("a.JPG", 0), member("a.NEF", 99), member("a.jpeg", 99)])
    assert told(found) == [
        ("raw_jpeg", "a.JPG", [("a.JPG", "photo"), ("a.CR2", "raw")]),
        ("raw_jpeg", "a.jpeg", [("a.jpeg", "photo"), ("a.NEF", "raw")]),
    ]


def test_a_live_photo_whose_still_has_a_raw_is_one_live_photo() -> None:
    [stack] = stacks([member("a.DNG"), member("a.heic", content_id="X"), member("b.mov", content_id="X")])
    assert told([stack]) == [("live", "a.heic", [("a.heic", "photo"), ("a.DNG", "raw"), ("b.mov", "film")])]
    assert [one.why for one in stack.members] == [
        "content id X", "same name a.DNG and a.heic in one folder", "content id X",
    ]  # fmt: skip
    assert stack.moving(id_of("a.heic")) == stack.moving(id_of("a.DNG")) == id_of("b.mov")
    assert stack.moving(id_of("b.mov")) == id_of("a.heic")


def test_an_edited_live_photo_keeps_to_its_own_film() -> None:
    files = ["IMG_1.HEIC", "IMG_E1.JPG", "IMG_E1.MOV", "IMG_1.MOV"]
    [stack] = stacks([member(one, content_id="X") for one in files])
    assert [(one.name, one.role) for one in stack.members] == [
        ("IMG_1.HEIC", Role.PHOTO), ("IMG_E1.JPG", Role.VERSION),
        ("IMG_1.MOV", Role.FILM), ("IMG_E1.MOV", Role.VERSION),
    ]  # fmt: skip
    assert [stack.moving(id_of(one)) for one in files] == [id_of(files[3])] * 2 + [id_of(files[0])] * 2


def test_a_burst_of_pairs_is_one_burst() -> None:
    pairs = [
        one
        for number in range(3)
        for one in (member(f"{number}.cr2", number, burst_id="B"), member(f"{number}.jpg", number, burst_id="B"))
    ]
    [stack] = stacks([*pairs, member("9.jpg")])
    assert (stack.kind, stack.cover, stack.why) == (StackKind.BURST, id_of("0.jpg"), "burst id B")
    assert [(one.name, one.role, one.shot) for one in stack.members] == [
        ("0.jpg", "frame", 0), ("0.cr2", "raw", 0), ("1.jpg", "frame", 1), ("1.cr2", "raw", 1),
        ("2.jpg", "frame", 2), ("2.cr2", "raw", 2),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("frames", "cover"),
    [
        ([member("b.jpg", 1, burst_id="B"), member("a.jpg", 2, burst_id="B")], "b.jpg"),
        ([member("b.jpg", 1, burst_id="B"), member("a.jpg", 2, burst_id="B", leads=True)], "a.jpg"),
        ([member("b.jpg", 1, burst_id="B"), member("B1_COVER.jpg", 2, burst_id="B")], "B1_COVER.jpg"),
    ],
)
def test_the_cover_of_a_burst(frames: list[Member], cover: str) -> None:
    assert told(stacks(frames))[0][1] == cover


def test_an_id_that_very_many_have_identifies_nothing() -> None:
    frames = [member(f"{number}.jpg", burst_id="B") for number in range(MANY)]
    assert len(stacks(frames)) == 1
    assert stacks([*frames, member("more.jpg", burst_id="B")]) == []


STEMS = st.sampled_from(["a", "b", "A", "a-edit"])
IDS = st.sampled_from([None, None, None, "X", "Y"])


@st.composite
def libraries(draw: st.DrawFn) -> list[Member]:
    paths = st.builds("{}/{}.{}".format, st.sampled_from(["d", "e"]), STEMS, st.sampled_from([*TYPES, "JPG", "CR2"]))
    return [
        member(
            path,
            draw(st.sampled_from([None, 0.0, 2.0, 4.0, 9999.0])),
            *draw(st.lists(st.just(f"f/{path[2:]}"), max_size=1)),
            content_id=draw(IDS),
            burst_id=draw(IDS),
            camera=draw(st.sampled_from([None, None, "K"])),
            leads=draw(st.booleans()),
        )
        for path in draw(st.lists(paths, unique=True, max_size=12))
    ]


@given(libraries(), st.randoms(use_true_random=False))
def test_no_order_makes_other_stacks(library: list[Member], random: object) -> None:
    shuffled = list(library)
    random.shuffle(shuffled)  # type: ignore[attr-defined]  # a Random
    assert sorted(map(repr, stacks(shuffled))) == sorted(map(repr, stacks(library)))


@given(libraries())
def test_nothing_is_in_two_stacks(library: list[Member]) -> None:
    found = stacks(library)
    ids = [one.id for stack in found for one in stack.members]
    assert len(ids) == len(set(ids))
    assert set(ids) <= {one.id for one in library}
    for stack in found:
        assert len(stack.members) > 1
        assert stack.cover in {one.id for one in stack.members}
        assert all(one.why for one in stack.members)


@given(libraries(), st.integers(0, 9999))
def test_an_unrelated_file_changes_nothing(library: list[Member], number: int) -> None:
    more = [member(f"d/new{number}.jpg", 0), member(f"d/other{number}.cr2", 0)]
    assert stacks([*more, *library]) == stacks(library)


@given(libraries())
def test_what_has_a_name_or_an_id_in_common_is_enough_to_know_a_stack(library: list[Member]) -> None:
    """What lets the database ask for a few assets instead of for a folder."""
    everywhere = {one.id: stack for stack in stacks(library) for one in stack.members}
    for asset in library:
        near = neighbourhood(asset, library)
        nearby = {one.id: stack for stack in stacks(near) for one in stack.members}
        assert nearby.get(asset.id) == everywhere.get(asset.id)


def keys(one: Member) -> set[object]:
    names: set[object] = {(place.folder, place.stem) for place in one.places if place.stem is not None}
    return {*names, ("content", one.content_id), ("burst", one.burst_id)} - {("content", None), ("burst", None)}


def neighbourhood(asset: Member, library: Sequence[Member]) -> list[Member]:
    near, known = [asset], keys(asset)
    while more := [one for one in library if one not in near and known & keys(one)]:
        near += more
        known = known.union(*map(keys, more))
    return near


def described(path: str) -> Described:
    mime = TYPES[path.rpartition(".")[2].lower()]
    return Described(RepoPath(path), id_of(path), type_of(mime), mime)


@pytest.mark.parametrize(
    ("sidecar", "files", "whose"),
    [
        ("a.xmp", ["a.jpg", "a.CR2"], "a.CR2"),
        ("a.xmp", ["a.dng", "a.CR2"], "a.CR2"),
        ("a.xmp", ["a.heic", "a.jpg", "a.mov"], "a.jpg"),
        ("a.xmp", ["a.mov", "a.png"], "a.png"),
        ("a.xmp", ["a.mp3", "a.mov"], "a.mov"),
        ("a.xmp", ["A.jpg", "b.jpg", "d/a.jpg"], None),
        ("a.jpg.xmp", ["a.jpg", "a.CR2"], "a.jpg"),
        ("a.jpg.xmp", ["a.CR2"], None),
        ("a.AAE", ["a.dng", "a.heic", "a.mov"], "a.heic"),
        ("a.AAE", ["a.dng"], "a.dng"),
        ("a.jpg.json", ["a.jpg", "a.CR2"], "a.jpg"),
        ("notes.txt", ["notes.jpg"], None),
    ],
)
def test_whose_a_sidecar_is(sidecar: str, files: list[str], whose: str | None) -> None:
    for order in (files, files[::-1]):
        found = owner(RepoPath(sidecar), map(described, order))
        assert (found.by.path if found else None) == whose


def test_the_whole_name_is_read_before_the_stem() -> None:
    names = [RepoPath(name) for name in ("a.XMP", "a.jpg.xmp", "a.AAE", "a.xmp")]
    assert read_first(RepoPath("a.jpg"), names) == "a.jpg.xmp"
    assert read_first(RepoPath("a.jpg"), [names[0], names[3]]) == "a.XMP"
    assert read_first(RepoPath("a.jpg"), [names[2]]) is None
