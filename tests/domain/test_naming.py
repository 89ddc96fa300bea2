from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lumiliod.domain.ids import Digest, RepoPath
from lumiliod.domain.naming import candidates, digest_uuid, safe_name, split_name, text_name
from lumiliod.domain.repositories import DuplicateNames
from lumiliod.testing.layouts import filenames

DIGEST = Digest("ab" * 32)


@pytest.mark.parametrize(
    ("given_name", "kept"),
    [
        ("IMG_2041.jpg", "IMG_2041.jpg"),
        ("Ferien am Meer, 2024 (1).JPG", "Ferien am Meer, 2024 (1).JPG"),
        ("家族.heic", "家族.heic"),
        ("👨‍👩‍👧.png", "👨‍👩‍👧.png"),
        ("e\u0301.jpg", "é.jpg"),
        ("../../etc/passwd", "passwd"),
        ("C:\\fakepath\\a.jpg", "a.jpg"),
        ("folder/", "folder"),
        ("a\nb\x7f.jpg", "a_b_.jpg"),
        ("a\0b.jpg", "a_b.jpg"),
        ("\udcff.jpg", "\ufffd.jpg"),
        ("..hidden. ", "hidden"),
        ("con.jpg", "_con.jpg"),
        ("COM1", "_COM1"),
        ("aux .tar.gz", "_aux .tar.gz"),
        ("console.jpg", "console.jpg"),
        ("\u202egpj.exe", "gpj.exe"),
        ("", "unnamed"),
        ("...", "unnamed"),
    ],
)
def test_safe_name(given_name: str, kept: str) -> None:
    assert safe_name(given_name) == kept


def test_safe_name_uses_the_extension_of_the_content_only_without_a_name() -> None:
    assert safe_name("/", ".jpg") == "unnamed.jpg"
    assert safe_name("a", ".jpg") == "a"


def test_safe_name_keeps_the_extension_and_whole_characters() -> None:
    name = safe_name("é" * 300 + ".jpeg")
    assert name.endswith("é.jpeg")
    assert 246 <= len(name.encode()) <= 249


@given(filenames)
def test_safe_name_is_safe_and_stable(filename: str) -> None:
    name = safe_name(filename)
    assert 0 < len(name.encode()) <= 249
    assert "/" not in name
    assert "\0" not in name
    assert name not in {".", ".."}
    assert safe_name(name) == name


@given(filenames)
def test_text_name_is_text(filename: str) -> None:
    assert "\0" not in text_name(filename).encode().decode()


@given(filenames, st.sampled_from(["rename", "uuid", "overwrite"]))
def test_candidates_fit_differ_and_repeat(filename: str, policy: DuplicateNames) -> None:
    path = RepoPath(f"inbox/2024/{safe_name(filename)}")
    found = list(candidates(path, policy, DIGEST))
    assert found[0] == path
    assert len(set(found)) == len(found) == (2 if policy == "uuid" else 1001)
    assert found == list(candidates(path, policy, DIGEST))
    extension = split_name(path.rpartition("/")[2])[1]
    for candidate in found:
        folder, _, name = candidate.rpartition("/")
        assert folder == "inbox/2024"
        assert len(name.encode()) <= 255
        assert name.endswith(extension)


def test_candidates_by_policy() -> None:
    path = RepoPath("inbox/a.tar.gz")
    assert list(islice(candidates(path, "rename", DIGEST), 3)) == [path, "inbox/a.tar (1).gz", "inbox/a.tar (2).gz"]
    assert list(candidates(path, "uuid", DIGEST)) == [path, f"inbox/a.tar_{digest_uuid(DIGEST)}.gz"]
    assert list(candidates(path, "rename", DIGEST))[-1] == f"inbox/a.tar_{digest_uuid(DIGEST)}.gz"
    assert digest_uuid(DIGEST).version == 8
