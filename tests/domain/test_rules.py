"""Pure rules: identifiers, search words, what is ignored, which sidecar belongs to which file."""

import os
import threading
from uuid import RFC_4122, UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lumiliod.domain import ignore
from lumiliod.domain.ids import RepoPath, is_digest, path_bytes, path_from_bytes, shown, uuid7, uuid7_texts
from lumiliod.domain.ignore import IgnoreRule
from lumiliod.domain.sidecars import is_sidecar, owners, sidecars
from lumiliod.domain.text import fold, search_text, words


def test_uuid7_grows_and_is_version_7() -> None:
    made = [uuid7() for _ in range(20_000)]
    assert made == sorted(set(made))
    assert {uuid.version for uuid in made} == {7}
    assert {uuid.variant for uuid in made} == {UUID(int=0x8000 << 48).variant}


def test_uuid7_is_unique_across_threads() -> None:
    made: list[UUID] = []
    threads = [threading.Thread(target=lambda: made.extend([uuid7() for _ in range(5000)])) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(made)) == 20_000


@given(st.binary(min_size=1, max_size=80))
def test_any_name_round_trips_and_can_be_shown(raw: bytes) -> None:
    path = path_from_bytes(raw)
    assert path_bytes(path) == raw
    shown(path).encode("utf-8")
    assert os.fsencode(path) == raw


def test_digest_form() -> None:
    assert is_digest("0f" * 32)
    assert not is_digest("0F" * 32)
    assert not is_digest("0f" * 31)


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("IMG_2041.jpg", "img"),
        ("IMG_2041.jpg", "2041"),
        ("DSC00123.ARW", "dsc"),
        ("sunsetBeach.png", "beach"),
        ("Café crème.jpg", "creme"),
        ("日本語 写真.jpg", "写真"),
        ("STRASSE.jpg", "straße"),
    ],
)
def test_names_are_found_by_their_words(name: str, asked: str) -> None:
    assert fold(asked) in words(name)


def test_search_text_has_no_repeats() -> None:
    assert search_text("a b", None, "B c") == "a b c"


@pytest.mark.parametrize(
    "name", [".hidden", "a.tmp", "b.JPG.PART", "Thumbs.db", "thumbs.DB", "._IMG_1.JPG", "@eaDir", "~$a.jpg", "x~"]
)
def test_ignored(name: str) -> None:
    assert IgnoreRule().reason(name)


@pytest.mark.parametrize("name", ["a.jpg", "temp.jpg", "part.png", "[1].jpg", "Icon.jpg"])
def test_not_ignored(name: str) -> None:
    assert IgnoreRule().reason(name) is None


@pytest.mark.parametrize("remembered", [ignore.HARMLESS_MAX, 2])
@given(
    st.lists(
        st.lists(
            st.one_of(
                st.text(st.sampled_from("aT~$.mp1_ ıé[\n"), min_size=1, max_size=8),
                st.sampled_from(
                    ["Thumbs.db", "x.TMP", ".a", "._1", "lost+found", "I_1.JPG", "@eaDir", ".Spotlight-V100"]
                ),
            ),
            max_size=12,
        ),
        max_size=4,
    ),
    st.lists(st.sampled_from(["*.m", "1*", "*a*", "p", "?", "[am]*", "é*", "*", "a*1", "v22"]), max_size=2),
)
def test_folders_names_are_judged_like_each_by_itself(
    remembered: int, folders: list[list[str]], patterns: list[str]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ignore, "HARMLESS_MAX", remembered)
        rule = IgnoreRule(patterns)
        for names in folders:
            each = {name.encode(): rule.reason(name) for name in names}
            left_out = {name: reason for name, reason in each.items() if reason}
            assert rule.left_out([name.encode() for name in names]) == left_out


def test_own_patterns_are_added() -> None:
    assert IgnoreRule(["*.raw"]).reason("a.RAW") == "matches the ignore pattern *.raw"


@pytest.mark.parametrize(
    ("name", "owner"),
    [("a.jpg.xmp", "a.jpg"), ("a.xmp", "a.jpg"), ("a.xmp", "a.NEF"), ("a.AAE", "a.heic"), ("d/a.jpg.json", "d/a.jpg"),
     ("a.jpg.supplemental-metadata.json", "a.jpg")],
)  # fmt: skip
def test_sidecars_find_their_owner_and_owners_their_sidecars(name: str, owner: str) -> None:
    assert is_sidecar(name.rpartition("/")[2])
    assert owner in owners(RepoPath(name))
    assert name in sidecars(RepoPath(owner))


@pytest.mark.parametrize("name", ["data.json", "a.jpg", ".xmp", "notes.txt"])
def test_no_sidecars(name: str) -> None:
    assert not is_sidecar(name)


def test_many_uuid7_at_once_are_like_those_made_one_by_one() -> None:
    before = uuid7()
    made = [UUID(text) for count in (0, 1, 5_000, 4_097) for text in uuid7_texts(count)]
    after = uuid7()
    assert [before, *made, after] == sorted({before, *made, after})
    assert len(made) == 9_098
    assert {(one.version, one.variant) for one in made} == {(7, RFC_4122)}
