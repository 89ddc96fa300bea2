from collections.abc import Callable
from datetime import datetime

import pytest

from lumiliod.domain.errors import Shape
from lumiliod.domain.ids import Digest
from lumiliod.storage.cas import CasLayout
from lumiliod.storage.date import DateLayout
from lumiliod.storage.flat import FlatLayout
from lumiliod.storage.layout import Layout, Placing
from lumiliod.testing import layouts

TAKEN = datetime(2024, 7, 31, 23, 59)  # noqa: DTZ001  a wall clock
DIGEST = Digest("ab" * 16 + "cd" * 16)


def item(filename: str = "IMG 1.JPG", extension: str = ".jpg") -> Placing:
    return Placing(filename, extension, DIGEST, TAKEN)


@pytest.mark.parametrize("check", layouts.CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("layout", [DateLayout(), FlatLayout(), CasLayout()], ids=lambda layout: layout.name)
def test_conformance(layout: Layout, check: Callable[[Layout], None]) -> None:
    check(layout)


def test_places() -> None:
    assert DateLayout().place(item()) == "inbox/2024/07/IMG 1.JPG"
    assert DateLayout().place(item("", ".png")) == "inbox/2024/07/unnamed.png"
    assert FlatLayout().place(item()) == "inbox/IMG 1.JPG"
    assert CasLayout().place(item("x.png")) == f"inbox/ab/ab/ab/{DIGEST}.jpg"
    assert CasLayout().place(item("x.png", "/../x")) == f"inbox/ab/ab/ab/{DIGEST}"


def test_cas_needs_a_digest() -> None:
    with pytest.raises(Shape, match="digest"):
        CasLayout().place(Placing("a.jpg", ".jpg", Digest("AB"), TAKEN))
