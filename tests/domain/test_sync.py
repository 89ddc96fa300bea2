"""What is believed of files that a scan did not meet."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lumiliod.domain.errors import Shape
from lumiliod.domain.ids import path_from_bytes
from lumiliod.domain.sync import (
    HOLD_FILES,
    Absent,
    HeldState,
    Holding,
    SyncScope,
    Verdict,
    judged,
    quoted,
    scope_of,
    unquoted,
)

BELIEVE, NEW, KEEP, HOLD = Verdict.BELIEVE, Verdict.BELIEVE_NEW, Verdict.KEEP, Verdict.HOLD

held = Holding(HeldState.HELD, files=60, basis=100)
rejected = Holding(HeldState.REJECTED, files=60, basis=100)
waits = Holding(HeldState.APPROVED, files=60, basis=100)
due = Holding(HeldState.APPROVED, files=60, basis=100, is_due=True)


@pytest.mark.parametrize(
    ("absent", "holding", "is_full", "verdict"),
    [
        # a fifth, and fifty, are believed; one more of both is not
        (Absent(50, 50, 51), None, True, BELIEVE),
        (Absent(51, 51, 255), None, True, BELIEVE),
        (Absent(51, 51, 254), None, True, HOLD),
        (Absent(51, 51, 254), None, False, HOLD),
        # held stays held whatever comes besides, until it has shrunk
        (Absent(60, 0, 1000), held, True, HOLD),
        (Absent(61, 1, 1000), held, True, HOLD),
        (Absent(50, 0, 100), held, True, BELIEVE),
        # what was rejected is not asked about again, more than that is
        (Absent(60, 0, 100), rejected, True, KEEP),
        (Absent(5, 0, 100), rejected, True, KEEP),
        (Absent(61, 1, 100), rejected, True, HOLD),
        (Absent(31, 1, 100), rejected, True, NEW),
        # an approval is of what was shown: a tenth more, and never more than fifty
        (Absent(60, 0, 100), due, True, BELIEVE),
        (Absent(66, 6, 100), due, True, BELIEVE),
        (Absent(67, 7, 100), due, True, HOLD),
        (Absent(40, 7, 100), due, True, HOLD),
        (Absent(100_050, 50, 10**6), Holding(HeldState.APPROVED, 10**5, 10**6, is_due=True), True, BELIEVE),
        (Absent(100_051, 51, 10**6), Holding(HeldState.APPROVED, 10**5, 10**6, is_due=True), True, HOLD),
        (Absent(0, 0, 100), due, True, BELIEVE),
        # one that began before the approval concludes nothing of it
        (Absent(60, 0, 100), waits, True, KEEP),
        (Absent(67, 7, 100), waits, True, HOLD),
        # a folder says nothing of what is held
        (Absent(60, 0, 100), held, False, NEW),
        (Absent(60, 0, 100), due, False, NEW),
        (Absent(80, 50, 100), rejected, False, NEW),
        (Absent(80, 51, 100), rejected, False, HOLD),
    ],
)
def test_verdicts(absent: Absent, holding: Holding | None, is_full: bool, verdict: Verdict) -> None:
    assert judged(absent, holding, is_full=is_full) is verdict


counts = st.integers(0, 2000)
states = st.sampled_from(HeldState)


@given(counts, counts, counts, states, counts.filter(bool), counts, st.booleans())
def test_what_a_person_has_not_approved_is_never_believed_at_once(
    old: int, new: int, others: int, state: HeldState, files: int, basis: int, is_full: bool
) -> None:
    """Whatever is held: so many new ones that they alone would be held are never marked."""
    absent = Absent(old + new, new, old + new + others)
    verdict = judged(absent, Holding(state, max(files, old), basis), is_full=is_full)
    if new > HOLD_FILES and new > absent.known / 5:
        assert verdict is HOLD
    if verdict is BELIEVE:
        assert state is HeldState.HELD
        assert is_full


@given(st.binary(max_size=40).filter(lambda raw: b"\0" not in raw))
def test_a_folder_has_the_same_bytes_wherever_it_is_named(raw: bytes) -> None:
    path = path_from_bytes(raw)
    if raw and not {b"", b".", b".."}.isdisjoint(raw.split(b"/")):
        with pytest.raises(Shape, match="no folder"):
            unquoted(quoted(path))
    else:
        assert unquoted(quoted(path)) == path


@pytest.mark.parametrize(
    ("folder", "is_deep", "scope"),
    [("", True, SyncScope.FULL), ("", False, SyncScope.FILES), ("a", True, SyncScope.FOLDER), ("a", False, "files")],
)
def test_what_a_scan_covers(folder: str, is_deep: bool, scope: str) -> None:
    assert scope_of(path_from_bytes(folder.encode()), is_deep) == scope
