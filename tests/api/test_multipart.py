from collections.abc import Sequence

import pytest
import trio
from hypercorn.typing import ASGIReceiveEvent
from hypothesis import given, settings
from hypothesis import strategies as st

from lumiliod.api.body import RequestBody
from lumiliod.api.multipart import Multipart
from lumiliod.domain.errors import Shape
from lumiliod.testing.sources import read_all

Parts = list[tuple[str, str | None, bytes]]


def body_of(chunks: Sequence[bytes], *, whole: bool = True) -> RequestBody:
    left: list[ASGIReceiveEvent] = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
    left.append({"type": "http.request", "body": b"", "more_body": False} if whole else {"type": "http.disconnect"})

    async def receive() -> ASGIReceiveEvent:
        await trio.lowlevel.checkpoint()
        return left.pop(0)

    return RequestBody(receive)


async def parts_of(
    chunks: Sequence[bytes],
    content_type: str = "multipart/form-data; boundary=b",
    room_bytes: int | None = None,
    **kw: bool,
) -> Parts:
    """Return the parts, each read piece by piece, or into room of that size."""
    form = Multipart(body_of(chunks, **kw), content_type)
    found: Parts = []
    while part := await form.next_part():
        if room_bytes is None:
            content = b"".join([chunk async for chunk in part])
        else:
            content = await read_all(part, room_bytes)
        found.append((part.name, part.filename, content))
    return found


def form_of(parts: Parts, boundary: str = "b") -> bytes:
    out = b""
    for name, filename, data in parts:
        extra = "" if filename is None else f'; filename="{filename}"'
        out += f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{extra}\r\n\r\n'.encode() + data + b"\r\n"
    return out + f"--{boundary}--\r\n".encode()


@given(
    parts=st.lists(
        st.tuples(
            st.sampled_from(["file", "repository", "x"]),
            st.sampled_from([None, "a.jpg", "ü b.jpg"]),
            st.binary(max_size=60)
            | st.lists(
                st.sampled_from([b"\r", b"\n", b"-", b"--Xb", b"Xboundary", b"b", b"\r\n--Xboundary", b"\r\n--c"])
            ).map(b"".join),
        ),
        max_size=4,
    ),
    size=st.integers(1, 70),
    room=st.none() | st.integers(1, 90),
)
@settings(deadline=None, max_examples=300)
def test_any_form_in_any_pieces(parts: Parts, size: int, room: int | None) -> None:
    boundary = "Xboundary7"
    raw = form_of(parts, boundary)
    chunks = [raw[n : n + size] for n in range(0, len(raw), size)]
    assert trio.run(parts_of, chunks, f"multipart/form-data; boundary={boundary}", room) == parts


async def test_an_extended_file_name() -> None:
    raw = (
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="x"; filename*=UTF-8\'\'%E2%82%AC%0Aa.jpg\r\n'
        b"Content-Type: image/jpeg\r\n\r\nhello\r\n--b--\r\n"
    )
    assert (await parts_of([raw]))[0][1] in ("€\na.jpg", "x")


async def test_text_around_the_parts_means_nothing() -> None:
    raw = b"preamble\r\n" + form_of([("file", "a", b"1")]) + b"epilogue" * 100_000
    chunks = [raw[n : n + 10_000] for n in range(0, len(raw), 10_000)]
    assert await parts_of(chunks) == [("file", "a", b"1")]


@pytest.mark.parametrize(
    "content_type",
    ["multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; boundary=" + "x" * 71],
)
async def test_no_boundary(content_type: str) -> None:
    with pytest.raises(Shape) as caught:
        await parts_of([b""], content_type)
    assert caught.value.code == "bad_multipart"


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"", "truncated_upload"),
        (b"nothing of the kind", "truncated_upload"),
        (b"x" * 100_000, "bad_multipart"),
        (b"--b\r\nX: " + b"x" * 100_000, "bad_multipart"),
        (b"--b\r\nX: y\r\n\r\nz\r\n--b--\r\n", "bad_multipart"),
        (b"--b\r\nContent-Disposition: form-data; name=\xff\r\n\r\nz\r\n--b--\r\n", "bad_multipart"),
        (form_of([("file", "a", b"1234")])[:-7], "truncated_upload"),
        (form_of([("file", "a", b"1234")])[:40], "truncated_upload"),
    ],
)
async def test_a_malformed_body(raw: bytes, code: str) -> None:
    with pytest.raises(Shape) as caught:
        await parts_of([raw] if raw else [])
    assert caught.value.code == code


async def test_a_client_that_leaves_is_never_an_end() -> None:
    raw = form_of([("file", "a", b"1234" * 1000)])
    for cut in (10, 100, 2000, len(raw) - 8):
        with pytest.raises(Shape) as caught:
            await parts_of([raw[:cut]], whole=False)
        assert caught.value.code == "truncated_upload"


async def test_a_field_is_bounded() -> None:
    form = Multipart(body_of([form_of([("repository", None, b"x" * 100_000)])]), "multipart/form-data; boundary=b")
    part = await form.next_part()
    assert part is not None
    with pytest.raises(Shape):
        await part.text()


async def test_an_unread_part_is_skipped() -> None:
    form = Multipart(
        body_of([form_of([("x", "a", b"1" * 5000), ("file", "b", b"2")])]), "multipart/form-data; boundary=b"
    )
    assert await form.next_part() is not None
    second = await form.next_part()
    assert second is not None
    assert await second.text() == "2"
