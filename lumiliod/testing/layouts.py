"""What every layout has to keep. A plugin's own test::

@pytest.mark.parametrize("check", layouts.CHECKS)
def test_layout(check):
check(MyLayout())
"""

import posixpath
from collections.abc import Callable
from datetime import datetime

from hypothesis import given
from hypothesis import strategies as st

from lumiliod.domain.ids import Digest, path_bytes
from lumiliod.domain.naming import NAME_MAX_BYTES
from lumiliod.storage.layout import Layout, Placing

_HOSTILE = (
    "",
    ".",
    "..",
    "../../etc/passwd",
    "/etc/shadow",
    "C:\\fakepath\\a.jpg",
    "a\0b.jpg",
    "a\nb.jpg",
    "CON",
    "nul.jpg",
    " .hidden",
    "trailing. ",
    "\udcff\udcfe.jpg",
    "\ud800.jpg",
    "é" * 400 + ".jpg",
    "x." + "y" * 400,
    "\u202egpj.exe",
    ".lumiliorepo",
)

filenames = st.one_of(
    st.sampled_from(_HOSTILE),
    st.text(st.characters(), max_size=300),
    st.binary(max_size=300).map(lambda raw: raw.decode("utf-8", "surrogateescape")),
)
"""Any name a person, a browser or an attacker may send."""

placings = st.builds(
    Placing,
    filename=filenames,
    extension=st.sampled_from([".jpg", ".heic", ".mp4", ".flac", ""]),
    digest=st.binary(min_size=32, max_size=32).map(lambda raw: Digest(raw.hex())),
    taken_local=st.datetimes(min_value=datetime(1, 1, 1), max_value=datetime(9999, 12, 31)),  # noqa: DTZ001
)
"""Anything a layout may be asked to place."""


def place_is_safe(layout: Layout) -> None:
    """Every place lies below ``inbox/``, in parts every common file system takes."""

    @given(placings)
    def check(item: Placing) -> None:
        path = layout.place(item)
        parts = path.split("/")
        assert parts[0] == "inbox"
        assert len(parts) > 1
        assert posixpath.normpath(path) == path
        assert len(path_bytes(path)) < 1024
        for part in parts:
            assert part not in {"", ".", ".."}
            assert len(part.encode()) <= NAME_MAX_BYTES
            assert part == part.strip(" .")
            assert not any(ord(c) < 32 or ord(c) == 127 or 0xD800 <= ord(c) < 0xE000 for c in part)

    check()


def place_is_pure(layout: Layout) -> None:
    """The same item always has the same place."""

    @given(placings)
    def check(item: Placing) -> None:
        assert layout.place(item) == layout.place(item)

    check()


def has_a_name(layout: Layout) -> None:
    """Its name can be a ``storage_strategy``."""
    assert isinstance(layout, Layout)
    assert layout.name == layout.name.lower()
    assert layout.name.replace("_", "").replace("-", "").isalnum()


CHECKS: tuple[Callable[[Layout], None], ...] = (place_is_safe, place_is_pure, has_a_name)
