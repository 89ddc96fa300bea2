"""What hostile metadata costs: one bounded try."""

import random
from pathlib import Path
from typing import Any

import pytest

from lumiliod.domain.errors import LumilioError
from lumiliod.media import exiftool
from tests.hostile.films import mkv_of_many_tags
from tests.hostile.parts import jpeg, jpeg_segment, with_segments


async def test_a_file_that_takes_exiftool_long_is_tried_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exiftool, "CPU_LIMIT_S", 1)
    endless, good = tmp_path / "tags.mkv", tmp_path / "good.jpg"
    content = mkv_of_many_tags(random.Random(1)).content
    assert content is not None
    endless.write_bytes(content)
    good.write_bytes(jpeg(random.Random(2)))
    async with exiftool.opened("exiftool", 1, 60) as tool:
        [first] = await tool.read([str(good)])
        [pid] = tool.pids
        before, refused, after = await tool.read([str(good), str(endless), str(good)])
        assert tool.pids != (pid,)
    assert first == before == after
    assert isinstance(refused, LumilioError)
    assert (refused.code, refused.message) == ("timeout", "exiftool took more than 1 s of processor time")


def nested(depth: int) -> bytes:
    """Return a JPEG with XMP of structures within each other."""
    inner = '<x:a rdf:parseType="Resource">' * depth + "<x:v>1</x:v>" + "</x:a>" * depth
    packet = (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        f'<rdf:Description rdf:about="" xmlns:x="http://x/">{inner}</rdf:Description></rdf:RDF></x:xmpmeta>'
    )
    return with_segments(
        jpeg(random.Random(1)), jpeg_segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + packet.encode())
    )


@pytest.mark.parametrize("depth", [4, 100, 900, 1500])
async def test_structures_within_each_other_have_an_end(tmp_path: Path, depth: int) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(nested(depth))
    async with exiftool.opened("exiftool", 1, 60) as tool:
        [tags] = await tool.read([str(path)])
    assert isinstance(tags, dict)
    if depth <= 900:
        assert tags["File:FileType"] == "JPEG"
        found: Any = next(value for value in tags.values() if isinstance(value, dict))
        levels = 0
        while isinstance(found, dict):
            found, levels = found.get("A", found.get("V")), levels + 1
        assert (levels, found) == ((4, 1) if depth == 4 else (exiftool.MAX_DEPTH, None))


async def test_a_batch_is_read_by_all_processes_at_once(tmp_path: Path) -> None:
    paths = []
    for number in range(12):
        path = tmp_path / f"{number}.jpg"
        path.write_bytes(jpeg(random.Random(number)))
        paths.append(str(path))
    async with exiftool.opened("exiftool", 2, 60) as tool:
        read = await tool.read(paths)
        assert len(tool.pids) == 2
    assert [isinstance(tags, dict) and tags["File:FileType"] for tags in read] == ["JPEG"] * 12


async def test_without_exiftool_every_file_may_come_again(tmp_path: Path) -> None:
    async with exiftool.opened(str(tmp_path / "none"), 1, 60) as tool:
        results = await tool.read(["/a", "/b"])
    assert [isinstance(result, LumilioError) for result in results] == [True, True]
