import random

import pytest

from lumiliod.api import memory


@pytest.fixture(params=["memmem", "without"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "without":
        monkeypatch.setattr(memory, "_memmem", None)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("wanted", [b"--edge", b"\0\0", b"\0x", b"x"])
def test_finds_what_bytes_find(wanted: bytes) -> None:
    rng = random.Random(1)
    for size in (0, 1, 2, 5, 6, 7, 100, 4096):
        content = bytearray(rng.choices(b"-edgx\0", k=size))
        assert memory.find(memoryview(content), wanted) == content.find(wanted)
        for at in {0, size // 2, max(0, size - len(wanted)), max(0, size - len(wanted) + 1)}:
            placed = bytearray(content)
            placed[at : at + len(wanted)] = wanted[: max(0, size - at)]
            assert memory.find(memoryview(placed), wanted) == placed.find(wanted)


@pytest.mark.usefixtures("way")
def test_looks_no_further_than_the_view() -> None:
    content = bytearray(b"abc--edge--edge")
    assert memory.find(memoryview(content)[4:9], b"--edge") == -1
    assert memory.find(memoryview(content)[4:], b"--edge") == 5
