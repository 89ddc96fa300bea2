"""Stacks: which assets are one shot or one burst, told by what the files are and never by when they came.

The rule, from the most certain to the least:

1. A content id is the camera's word: all photos and films with one are a live photo, wherever they lie.
2. A name is a hint: files of one folder that differ only in their extension are one shot where they are a RAW and the
   JPEG or HEIF a camera writes beside it, or such a still and a film of ten seconds at most. The stem counts to the
   byte, for on this disk two spellings are two names; the case of the extension does not. ``IMG_1-edit.jpg`` is another
   name. Names say nothing where anything contradicts them: another content id, burst id or camera, or another time.
3. A burst id joins shots, by that of the photo a shot is shown by: frames, each with its RAW and its film.

So a burst of RAW+JPEG pairs is one burst, and a live photo whose still has a RAW one live photo. Of several stills of
one RAW one is shown and the others are versions of it. A file whose bytes lie in several folders has all those places.
Adobe's programs, digiKam and Apple's pair by stem, too; only an id pairs what lies in different folders.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from lumiliod.domain.ids import AssetId
from lumiliod.domain.media import AssetType

RAW_EXTENSIONS = frozenset("cr2 cr3 crw nef arw dng orf rw2 pef raf mrw srw rwl x3f 3fr iiq".split())  # noqa: SIM905
STILL_TYPES = ("image/jpeg", "image/heic", "image/heif")
FILM_TYPES = ("video/quicktime", "video/mp4")
EXTENSIONS = tuple(
    spelled
    for extension in sorted({*RAW_EXTENSIONS, "jpg", "jpeg", "jpe", "heic", "heif", "hif", "mov", "mp4", "m4v"})
    for spelled in dict.fromkeys((extension, extension.upper(), extension.capitalize()))
)
"""Extensions of names that pair, as they are spelled; others pair by ids alone."""

LIVE_S = 10.0
"""Apple's films are 3 seconds long, others' up to some more; a longer one beside a photo was filmed."""
MANY = 500
"""An id that more assets have identifies nothing."""
APART_PHOTOS = timedelta(seconds=3)
"""RAW and JPEG of one shot carry one time; phones write the second file a little later."""
APART_FILM = timedelta(seconds=30)
APART_ZONES = timedelta(hours=15)
"""As far as two clocks may differ whose zones are not known."""


class StackKind(StrEnum):
    """What holds a stack together."""

    RAW_JPEG = "raw_jpeg"
    LIVE = "live"
    BURST = "burst"


class Role(StrEnum):
    """What a member is to its stack; ``version`` is a further still or film of the same shot."""

    PHOTO = "photo"
    RAW = "raw"
    FILM = "film"
    FRAME = "frame"
    VERSION = "version"


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Where a file lies: its folder, unlike any other of any repository, and its name."""

    folder: str
    name: str

    @property
    def stem(self) -> str | None:
        """The name without its extension, None where names with that do not pair."""
        stem, _, extension = self.name.rpartition(".")
        return stem if stem and extension in _EXTENSIONS else None


_EXTENSIONS = frozenset(EXTENSIONS)
_NOWHERE = Place("", "")
_Standing = tuple[bool, Place, str]


@dataclass(frozen=True, slots=True)
class Captured:
    """When the camera says that it was: the instant, the wall clock, and whether its zone is known."""

    utc: datetime
    local: datetime
    has_zone: bool


@dataclass(frozen=True, slots=True)
class Member:
    """What of an asset decides about stacks; ``captured`` is None where no camera's clock was read."""

    id: AssetId
    places: tuple[Place, ...]
    type: AssetType
    mime_type: str
    duration_s: float | None = None
    content_id: str | None = None
    burst_id: str | None = None
    captured: Captured | None = None
    camera: str | None = None
    leads: bool = False
    """Whether the camera says that this is the best of its burst."""

    @property
    def is_raw(self) -> bool:
        """Whether it is sensor data, by its content."""
        return is_raw(self.mime_type)

    @property
    def name(self) -> str:
        """What it is called where it comes first."""
        return min(self.places).name if self.places else str(self.id)


@dataclass(frozen=True, slots=True)
class StackMember:
    """A member with its role, and why it is one; those of one shot have one number."""

    id: AssetId
    type: AssetType
    name: str
    role: Role
    why: str
    shot: int


@dataclass(frozen=True, slots=True)
class Stack:
    """Assets that are one thing to a person: ``cover`` is the member that is shown; at least two, in order."""

    kind: StackKind
    cover: AssetId
    why: str
    members: tuple[StackMember, ...]

    def moving(self, asset_id: AssetId) -> AssetId | None:
        """Return the film of a photo's shot, or the photo of a film's."""
        one = next(member for member in self.members if member.id == asset_id)
        wanted = (Role.FILM,) if one.type is AssetType.PHOTO else (Role.PHOTO, Role.FRAME)
        return next((m.id for m in self.members if m.shot == one.shot and m.role in wanted and m.id != one.id), None)


@dataclass(frozen=True, slots=True)
class _Shot:
    """Assets of one release of the shutter, the one that is shown first; ``film`` is the one that plays."""

    members: tuple[Member, ...]
    film: Member | None
    whys: dict[AssetId, str]


def is_raw(mime_type: str) -> bool:
    """Tell whether a type is a camera's sensor data."""
    return mime_type.startswith("image/x-") and mime_type.rpartition("-")[2] in RAW_EXTENSIONS


def stacks(members: Iterable[Member]) -> list[Stack]:
    """Return the stacks among assets of one owner; each asset is in one at most, and their order does not matter."""
    ordered = sorted(members, key=_place)
    counts: dict[str, int] = defaultdict(int)
    for member in ordered:
        if member.burst_id is not None:
            counts[member.burst_id] += 1
    bursts: dict[str, list[_Shot]] = defaultdict(list)
    found: list[Stack] = []
    for shot in _shots(ordered):
        burst_id = shot.members[0].burst_id
        if burst_id is not None and shot.members[0].type is AssetType.PHOTO and counts[burst_id] <= MANY:
            bursts[burst_id].append(shot)
        elif len(shot.members) > 1:
            found.append(_of_shot(shot))
    for burst_id, shots in bursts.items():
        if len(shots) > 1:
            found.append(_of_burst(burst_id, shots))
        elif len(shots[0].members) > 1:
            found.append(_of_shot(shots[0]))
    return found


def _place(member: Member) -> _Standing:
    """Return where a member stands among others: by the place it has, whenever it came."""
    return (not member.places, min(member.places, default=_NOWHERE), str(member.id))


def _shots(ordered: Sequence[Member]) -> list[_Shot]:
    """Divide all members into shots; most are alone."""
    joined = _Joined(ordered)
    by_content: dict[str, list[Member]] = defaultdict(list)
    by_name: dict[tuple[str, str], list[Member]] = defaultdict(list)
    for member in ordered:
        if member.content_id is not None:
            by_content[member.content_id].append(member)
        for place in sorted(set(member.places)):
            if place.stem is not None:
                by_name[place.folder, place.stem].append(member)
    for content_id, group in by_content.items():
        types = {member.type for member in group}
        if len(group) <= MANY and {AssetType.PHOTO, AssetType.VIDEO} <= types:
            joined.join(group, f"content id {content_id}")
    for (folder, stem), cluster in sorted(by_name.items()):
        for group in _alike(list(dict.fromkeys(cluster))):
            names = sorted(p.name for m in group for p in m.places if (p.folder, p.stem) == (folder, stem))
            joined.join(group, f"same name {' and '.join(names)} in one folder")
    return [_shot(group, joined.whys) for group in joined.groups()]


class _Joined:
    """Which members belong together so far, and why each does: the first reason is the strongest."""

    def __init__(self, ordered: Sequence[Member]) -> None:
        self._group: dict[AssetId, list[Member]] = {member.id: [member] for member in ordered}
        self.whys: dict[AssetId, str] = {}

    def join(self, members: Sequence[Member], why: str) -> None:
        """Say that these are one shot."""
        group = self._group[members[0].id]
        for member in members:
            self.whys.setdefault(member.id, why)
            other = self._group[member.id]
            if other is not group:
                group += other
                self._group.update((moved.id, group) for moved in other)

    def groups(self) -> list[list[Member]]:
        """Return all, each once."""
        return list({id(group): group for group in self._group.values()}.values())


def _alike(cluster: list[Member]) -> list[list[Member]]:
    """Return the shots among files of one name, none of which contradicts another of its shot."""
    waiting = sorted((m for m in cluster if _pairs(m)), key=lambda m: (_rank(m), _place(m)))
    found = []
    while len(waiting) > 1:
        group = [waiting[0]]
        for member in waiting[1:]:
            if not any(contradict(member, other) for other in group):
                group.append(member)
        if len({_is_still(member) for member in group}) == 1:
            group = group[:1]
        if len(group) > 1:
            found.append(group)
        taken = {member.id for member in group}
        waiting = [member for member in waiting if member.id not in taken]
    return found


def contradict(one: Member, other: Member) -> bool:
    """Tell whether two files of one name say that they are not of one shot."""
    for said, against in (
        (one.content_id, other.content_id),
        (one.burst_id, other.burst_id),
        (_folded(one.camera), _folded(other.camera)),
    ):
        if said is not None and against is not None and said != against:
            return True
    if one.captured is None or other.captured is None:
        return False
    apart = min(abs(one.captured.utc - other.captured.utc), abs(one.captured.local - other.captured.local))
    if one.type is other.type:
        return apart > APART_PHOTOS
    return apart > (APART_FILM if one.captured.has_zone and other.captured.has_zone else APART_ZONES)


def _folded(camera: str | None) -> str | None:
    return None if camera is None else " ".join(camera.casefold().split())


def _is_still(member: Member) -> bool:
    return member.mime_type in STILL_TYPES


def _pairs(member: Member) -> bool:
    if member.mime_type in FILM_TYPES:
        return member.duration_s is not None and member.duration_s <= LIVE_S
    return member.is_raw or _is_still(member)


def _rank(member: Member) -> tuple[int, int]:
    """Return the order among files of one name: RAW, DNG (a program may have made it), stills, films."""
    if member.is_raw:
        return 0, int(member.mime_type == "image/x-adobe-dng")
    types = STILL_TYPES if member.type is AssetType.PHOTO else FILM_TYPES
    return 1 + (member.type is not AssetType.PHOTO), types.index(member.mime_type) if member.mime_type in types else 9


def _shot(group: Sequence[Member], whys: dict[AssetId, str]) -> _Shot:
    """Order a shot: what is shown first, the RAW behind what was made of it; with a film HEIF before JPEG."""
    films = [member for member in group if member.type is AssetType.VIDEO]
    photos = [member for member in group if member.type is not AssetType.VIDEO]

    def shown(member: Member) -> tuple[bool, int, _Standing]:
        kind, form = _rank(member)
        return kind == 0, -form if films and kind and form < len(STILL_TYPES) else form, _place(member)

    photos.sort(key=shown)
    beside = {(place.folder, place.stem) for photo in photos[:1] for place in photo.places}

    def played(member: Member) -> tuple[bool, tuple[int, int], _Standing]:
        is_beside = any((place.folder, place.stem) in beside for place in member.places)
        return not is_beside, _rank(member), _place(member)

    films.sort(key=played)
    return _Shot((*photos, *films), films[0] if films else None, whys)


def _of_shot(shot: _Shot) -> Stack:
    cover = shot.members[0]
    kind = StackKind.LIVE if shot.film is not None else StackKind.RAW_JPEG
    return Stack(kind, cover.id, shot.whys[cover.id], tuple(_told(shot, Role.PHOTO, shot.whys[cover.id], 0)))


def _of_burst(burst_id: str, shots: list[_Shot]) -> Stack:
    why = f"burst id {burst_id}"
    shots.sort(key=lambda shot: _when(shot.members[0]))
    best = min(shots, key=lambda shot: _leads(shot.members[0]))
    told = [member for number, shot in enumerate(shots) for member in _told(shot, Role.FRAME, why, number)]
    return Stack(StackKind.BURST, best.members[0].id, why, tuple(told))


def _told(shot: _Shot, role: Role, why: str, number: int) -> Iterable[StackMember]:
    for member in shot.members:
        if member is shot.members[0]:
            yield StackMember(member.id, member.type, member.name, role, why, number)
            continue
        its_role = Role.FILM if member is shot.film else Role.RAW if member.is_raw else Role.VERSION
        yield StackMember(member.id, member.type, member.name, its_role, shot.whys[member.id], number)


def _when(member: Member) -> tuple[bool, datetime, _Standing]:
    captured = member.captured
    return captured is None, captured.local if captured else datetime.min, _place(member)  # noqa: DTZ901 - a wall clock


def _leads(member: Member) -> tuple[bool, bool]:
    """Rank a frame as the one that is shown: by the camera's word, else by a name as Google's; else the first is."""
    return not member.leads, "COVER" not in member.name
