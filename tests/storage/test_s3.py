import os
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import obstore
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from obstore.store import S3Store

from lumiliod.domain.errors import Conflict, LumilioError, NotFound, Permanent, Refused, Shape, Unavailable
from lumiliod.domain.ids import RepoPath, path_bytes, path_from_bytes
from lumiliod.storage import ranged, s3_bucket, s3_errors, s3_keys, s3_probe, s3_upload
from lumiliod.storage.backend import Backend
from lumiliod.storage.s3 import S3Backend
from lumiliod.testing import backends, fault_checks
from lumiliod.testing.proxy import Asked, Break, Proxy, Rule

OpenBucket = Callable[..., S3Backend]
A = RepoPath("inbox/a.jpg")
QUICK = {"retry_timeout_s": "1", "max_retries": "1", "connect_timeout_s": "5"}


@pytest.fixture
def sources(tmp_path: Path) -> str:
    folder = tmp_path / "sources"
    folder.mkdir()
    return str(folder)


@pytest.fixture
def raw(bucket: str, s3_port: int) -> S3Store:
    """The whole bucket, as a stranger sees it."""
    return S3Store(
        bucket,
        endpoint=f"http://127.0.0.1:{s3_port}",
        region="us-east-1",
        access_key_id="key",
        secret_access_key="secret",
        client_options={"allow_http": True},
    )


def keys(raw: S3Store) -> list[str]:
    return [found["path"] for page in obstore.list(raw) for found in page]


def file(folder: str, content: bytes) -> str:
    path = Path(folder) / f"source-{len(os.listdir(folder))}"
    path.write_bytes(content)
    return str(path)


@pytest.mark.parametrize("prefix", ["", "some where/prefix"])
@pytest.mark.parametrize("check", backends.CHECKS, ids=lambda check: check.__name__)
def test_conformance(
    check: Callable[[Backend, str], None], prefix: str, open_bucket: OpenBucket, sources: str, raw: S3Store
) -> None:
    neighbours = [f"{prefix} next door", f"{prefix}0/x"] if prefix else []
    for key in neighbours:
        obstore.put(raw, key, b"theirs")
    check(open_bucket(prefix), sources)
    assert [obstore.get(raw, key).bytes().to_bytes() for key in neighbours] == [b"theirs"] * len(neighbours)
    assert [key for key in keys(raw) if ".lumilio/temp" in key] == []


@pytest.mark.parametrize("check", fault_checks.CHECKS, ids=lambda check: check.__name__)
def test_faults(check: Callable[[Backend, str], None], open_bucket: OpenBucket, sources: str) -> None:
    check(open_bucket(), sources)


ANY_NAME = st.one_of(
    st.binary(min_size=1, max_size=12), st.text("aü/~ .%\U0001f4f7", min_size=1, max_size=8).map(str.encode)
)


@given(st.lists(ANY_NAME, max_size=20))
def test_keys_round_trip_in_byte_order(names: list[bytes]) -> None:
    paths: list[RepoPath] = []
    for name in names:
        try:
            s3_keys.key_of("p/", path_from_bytes(name))
        except Shape:
            continue
        paths.append(path_from_bytes(name))
    found = {path: s3_keys.key_of("p/", path) for path in paths}
    assert all(s3_keys.path_of("p/", key) == path for path, key in found.items())
    odd = [path for path, key in found.items() if key.startswith("p/.lumilio/bytes/")]
    for group in (odd, [path for path in found if path not in odd]):
        assert sorted(group, key=path_bytes) == sorted(group, key=lambda path: found[path].encode())
    for after in paths:
        offset = s3_keys.offset_of("p/", after)
        assert offset is None or all(
            found[path].encode() > offset.encode()
            for path in found
            if path not in odd and path_bytes(path) > path_bytes(after)
        )


def test_keys_are_names_where_they_can_be(open_bucket: OpenBucket, sources: str, raw: S3Store) -> None:
    store = open_bucket("library")
    names = ["inbox/2024/05/Möwe & Meer (1).jpg", os.fsdecode(b"b\xff"), "a\nb"]
    for name in names:
        store.put_new(file(sources, b"bytes"), RepoPath(name))
    assert keys(raw) == [
        "library/.lumilio/bytes/610a62",
        "library/.lumilio/bytes/62ff",
        "library/inbox/2024/05/Möwe & Meer (1).jpg",
    ]
    assert [entry.path for entry in store.list(None, 10)] == [names[2], names[1], names[0]]


def test_what_nobody_stored_is_not_listed(open_bucket: OpenBucket, sources: str, raw: S3Store) -> None:
    store = open_bucket("library")
    strangers = [
        "library/.lumilio/bytes/610a6",
        "library/.lumilio/bytes/6162",
        "library/.lumilio/temp/x",
        "library/.lumiliorepo",
        "library/.lumilio-not-ours",
        "other/a",
    ]
    for key in strangers:
        obstore.put(raw, key, b"theirs")
    store.put_new(file(sources, b"bytes"), A)
    assert [entry.path for entry in store.list(None, 10)] == [".lumilio-not-ours", A]
    assert [entry.path for entry in store.list(RepoPath(".lumilio-not-ours"), 10)] == [A]
    store.remove(A)
    assert keys(raw) == sorted(strangers)


def test_more_than_one_answer_of_keys(open_bucket: OpenBucket, raw: S3Store) -> None:
    expected = sorted(f"inbox/{number}" for number in range(1100))
    for name in expected:
        obstore.put(raw, name, b"x")
    store = open_bucket()
    assert [entry.path for entry in store.list(None, 2000)] == expected
    assert [entry.path for entry in store.list(RepoPath(expected[1049]), 2000)] == expected[1050:]


def test_a_name_too_long_is_told(open_bucket: OpenBucket, sources: str) -> None:
    store, source = open_bucket("library"), file(sources, b"bytes")
    assert store.put_new(source, RepoPath("x" * (1024 - len("library/"))))
    for name in ("x" * 1017, "\udcff" * 500):
        with pytest.raises(Shape) as caught:
            store.put_new(source, RepoPath(name))
        assert caught.value.code == "name_unstorable"


def test_a_url_for_others(open_bucket: OpenBucket, sources: str) -> None:
    store = open_bucket("a b")
    path = RepoPath("inbox/100% [ü].jpg")
    store.put_new(file(sources, b"bytes"), path)
    url = store.presign(path, 60)
    assert "X-Amz-Expires=60" in url
    with urllib.request.urlopen(url) as answer:
        assert answer.read() == b"bytes"
    for expires_s in (0, -1, 604_801):
        with pytest.raises(Shape) as caught:
            store.presign(path, expires_s)
        assert caught.value.code == "bad_expiry"


def every_verb(store: S3Backend, source: str) -> dict[str, LumilioError]:
    """Return what each verb raises."""
    verbs: dict[str, Callable[[], object]] = {
        "open": lambda: store.open(A),
        "stat": lambda: store.stat(A),
        "list": lambda: store.list(None, 10),
        "put_new": lambda: store.put_new(source, A),
        "remove": lambda: store.remove(A),
    }
    raised: dict[str, LumilioError] = {}
    for name, verb in verbs.items():
        with pytest.raises(LumilioError) as caught:
            verb()
        raised[name] = caught.value
    return raised


def test_a_bucket_that_is_gone_is_no_missing_file(s3_port: int, open_bucket: OpenBucket, sources: str) -> None:
    options = {"endpoint": f"http://127.0.0.1:{s3_port}", "allow_http": "true", "access_key_id": "k"}
    store = S3Backend("s3://no-such-bucket", options | {"secret_access_key": "s3cr3t"})
    for error in every_verb(store, file(sources, b"bytes")).values():
        assert isinstance(error, Unavailable)
        assert error.code == "store_unavailable"


def test_a_server_that_is_gone_is_waited_for(open_bucket: OpenBucket, sources: str) -> None:
    store = open_bucket(endpoint="http://127.0.0.1:9", secret_access_key="s3cr3t", **QUICK)
    for error in every_verb(store, file(sources, b"bytes")).values():
        assert isinstance(error, Unavailable)
        assert error.after_s
        assert "s3cr3t" not in f"{error.message} {error.__cause__}"


def is_about(path: str) -> Callable[[Asked], bool]:
    return lambda asked: asked.target.partition("?")[0].endswith(path)


def test_who_may_not_read_one_file(breaking: Proxy, open_bucket: OpenBucket, sources: str) -> None:
    open_bucket().put_new(file(sources, b"bytes"), A)
    store = open_bucket(endpoint=breaking.url, **QUICK)
    closed = is_about(A)
    breaking.rule = lambda asked: Break.DENIED if closed(asked) else None
    for verb in (store.open, store.stat):
        with pytest.raises(Permanent) as caught:
            verb(A)
        assert caught.value.code == "unreadable"
    with pytest.raises(Unavailable) as away:
        store.put_new(file(sources, b"bytes"), A)
    assert away.value.code == "not_writable"
    breaking.rule = lambda asked: Break.DENIED
    for error in every_verb(store, file(sources, b"bytes")).values():
        assert isinstance(error, Unavailable)


def test_throttling_is_passed_on_and_got_over(breaking: Proxy, open_bucket: OpenBucket, sources: str) -> None:
    store = open_bucket(endpoint=breaking.url, max_retries="2")
    breaking.rule = lambda asked: Break.BUSY if asked.number % 2 == 0 else None
    assert store.put_new(file(sources, b"bytes"), A)
    assert store.stat(A).size_bytes == 5
    assert [entry.path for entry in store.list(None, 10)] == [A]
    assert breaking.broken
    breaking.rule = lambda asked: Break.BUSY
    store = open_bucket(endpoint=breaking.url, max_retries="0")
    for error in every_verb(store, file(sources, b"bytes")).values():
        assert isinstance(error, Unavailable)
        assert error.code == "store_busy"
        assert error.after_s == s3_errors.BUSY_AFTER_S


def test_a_silent_server_is_given_up(breaking: Proxy, open_bucket: OpenBucket, sources: str) -> None:
    breaking.rule = lambda asked: Break.HELD
    store = open_bucket(endpoint=breaking.url, read_timeout_s="0.2", max_retries="0")
    for error in every_verb(store, file(sources, b"bytes")).values():
        assert isinstance(error, Unavailable)
        assert error.code == "store_unavailable"
        assert "in time" in error.message


@pytest.mark.parametrize("broken", [Break.CUT, Break.SHORT, Break.RESET])
def test_half_a_listing_is_none(broken: Break, breaking: Proxy, open_bucket: OpenBucket, raw: S3Store) -> None:
    for number in range(5):
        obstore.put(raw, f"inbox/{number}", b"x")
    store = open_bucket(endpoint=breaking.url, max_retries="0")
    breaking.rule = lambda asked: broken
    with pytest.raises(Unavailable):
        store.list(None, 10)
    breaking.rule = lambda asked: None
    assert len(store.list(None, 10)) == 5


@pytest.mark.parametrize("broken", [Break.CUT, Break.SHORT, Break.RESET, Break.BUSY])
def test_half_a_file_is_none(broken: Break, breaking: Proxy, open_bucket: OpenBucket, sources: str) -> None:
    content = os.urandom(3_000_000)
    open_bucket().put_new(file(sources, content), A)
    store = open_bucket(endpoint=breaking.url, max_retries="0")
    read = bytearray()

    def read_on() -> None:
        while block := opened.read(100_000):
            read.extend(block)

    with store.open(A) as opened:
        breaking.rule = lambda asked: broken if len(read) > 1_000_000 else None
        with pytest.raises(Unavailable):
            read_on()
        assert breaking.broken
        assert content.startswith(read)
        breaking.rule = lambda asked: None
        opened.seek(0)
        assert opened.read() == content


def only(broken: Break, number: int) -> Rule:
    return lambda asked: broken if asked.number == number else None


STEPS = [pytest.param(100, id="small"), pytest.param(s3_upload.WHOLE_BYTES + 100, id="large")]


@pytest.mark.parametrize("size", STEPS)
@pytest.mark.parametrize("broken", sorted(set(Break) - {Break.HELD}))
def test_broken_at_every_request_is_healed(
    broken: Break, size: int, breaking: Proxy, open_bucket: OpenBucket, sources: str, raw: S3Store
) -> None:
    content = os.urandom(size)
    source = file(sources, content)
    obstore.put(raw, "inbox/theirs.jpg", b"theirs")
    for step in range(40):
        path = RepoPath(f"inbox/{step}.jpg")
        first = len(breaking.asked)
        breaking.rule = only(broken, first + step)
        raised: LumilioError | None = None
        try:
            open_bucket(endpoint=breaking.url, max_retries="0").put_new(source, path)
        except LumilioError as error:
            raised = error
        lied = broken is Break.LIE and raised is not None and raised.code == "name_taken"
        assert raised is None or isinstance(raised, Unavailable) or lied
        struck = len(breaking.asked) - first > step
        breaking.rule = lambda asked: None
        sound = open_bucket()
        stored = [entry.path for entry in sound.list(None, 1000)]
        assert set(stored) <= {"inbox/theirs.jpg", path}
        sound.put_new(source, path)
        with sound.open(path) as opened:
            assert opened.read() == content
        with pytest.raises(Conflict):
            sound.put_new(source, RepoPath("inbox/theirs.jpg"))
        sound.remove(path)
        assert obstore.get(raw, "inbox/theirs.jpg").bytes().to_bytes() == b"theirs"
        if not struck:
            assert step >= (4 if size <= s3_upload.WHOLE_BYTES else 10)
            return
    pytest.fail("never ran to its end")


UPLOAD = """
import sys
from lumiliod.storage import backend
backend.at(sys.argv[1], dict(option.split("=", 1) for option in sys.argv[4:])).put_new(sys.argv[2], sys.argv[3])
"""


def upload(location: str, source: str, path: str, endpoint: str) -> list[str]:
    options = [f"endpoint={endpoint}", "allow_http=true", "region=us-east-1", "access_key_id=k", "secret_access_key=s"]
    return [sys.executable, "-c", UPLOAD, location, source, path, *options]


def test_killed_in_the_middle_leaves_nothing_under_the_name(
    breaking: Proxy, bucket: str, open_bucket: OpenBucket, sources: str
) -> None:
    content = os.urandom(backends.LARGE_BYTES)
    source, reached = file(sources, content), threading.Event()

    def second_part(asked: Asked) -> Break | None:
        if "partNumber=2" not in asked.target:
            return None
        reached.set()
        return Break.HELD

    breaking.rule = second_part
    with subprocess.Popen(upload(f"s3://{bucket}", source, A, breaking.url)) as child:
        assert reached.wait(60)
        child.send_signal(signal.SIGKILL)
    store = open_bucket()
    assert store.list(None, 10) == []
    with pytest.raises(NotFound):
        store.stat(A)
    assert store.put_new(source, A)
    with store.open(A) as opened:
        assert opened.read() == content


MEMORY = """
import resource, sys
from lumiliod.storage import backend
store = backend.at(sys.argv[1], dict(option.split("=", 1) for option in sys.argv[4:]))
store.list(None, 1)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
store.put_new(sys.argv[2], sys.argv[3])
with store.open(sys.argv[3]) as file:
    while file.read(1 << 20):
        pass
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_memory_stays_constant(bucket: str, s3_port: int, sources: str) -> None:
    source = f"{sources}/large"
    with open(source, "wb") as written:
        written.truncate(160 << 20)
    command = upload(f"s3://{bucket}", source, A, f"http://127.0.0.1:{s3_port}")
    command[2] = MEMORY
    grown_kib = int(subprocess.run(command, capture_output=True, check=True).stdout)
    assert grown_kib < 80 << 10


@pytest.mark.parametrize(
    "check",
    [
        backends.stores_bytes,
        backends.never_replaces,
        backends.is_idempotent,
        backends.takes_empty_files,
        backends.takes_large_files,
    ],
    ids=lambda check: check.__name__,
)
def test_a_store_without_conditions_is_found_out(
    check: Callable[[Backend, str], None], breaking: Proxy, open_bucket: OpenBucket, sources: str, raw: S3Store
) -> None:
    breaking.unforwarded = frozenset({"if-none-match"})
    store = open_bucket(endpoint=breaking.url)
    believed = store.atomic_no_replace
    check(store, sources)
    assert (believed, store.atomic_no_replace) == (True, False)
    assert [key for key in keys(raw) if key.startswith(".lumilio/")] == []


def test_without_conditions_it_looks_again_right_before(
    breaking: Proxy, open_bucket: OpenBucket, sources: str, raw: S3Store
) -> None:
    def somebody_was_quicker(asked: Asked) -> None:
        if "partNumber=2" in asked.target and A not in keys(raw):
            obstore.put(raw, A, b"theirs")

    breaking.unforwarded = frozenset({"if-none-match"})
    breaking.rule = somebody_was_quicker
    with pytest.raises(Conflict):
        open_bucket(endpoint=breaking.url).put_new(file(sources, os.urandom(backends.LARGE_BYTES)), A)
    assert obstore.get(raw, A).bytes().to_bytes() == b"theirs"


async def test_a_caller_that_gives_up_ends_an_upload(
    breaking: Proxy, open_bucket: OpenBucket, sources: str, raw: S3Store
) -> None:
    source, token = file(sources, bytes(60 << 20)), trio.lowlevel.current_trio_token()
    store = open_bucket(endpoint=breaking.url)
    with trio.CancelScope() as scope:

        def gives_up(asked: Asked) -> None:
            if "partNumber=1&" in asked.target:
                trio.from_thread.run_sync(scope.cancel, trio_token=token)

        breaking.rule = gives_up
        await trio.to_thread.run_sync(store.put_new, source, A)
    assert scope.cancelled_caught
    assert keys(raw) == []
    assert not [asked for asked in breaking.asked if "partNumber=7" in asked.target]


def test_times_are_whole_seconds() -> None:
    when = datetime(2026, 11, 23, 5, 0, 0, 987_654, UTC)
    found = s3_bucket.stat_of({"path": "a", "last_modified": when, "size": 5, "e_tag": None, "version": None})
    assert (found.mtime_ns, found.inode) == (int(when.replace(microsecond=0).timestamp()) * 10**9, 0)


def test_a_store_without_states_is_found_out(breaking: Proxy, open_bucket: OpenBucket, sources: str) -> None:
    breaking.unforwarded = frozenset({"if-match"})
    backends.reads_one_state(open_bucket(endpoint=breaking.url), sources)


def test_what_s3_cannot_copy_is_refused(open_bucket: OpenBucket, sources: str) -> None:
    source = f"{sources}/huge"
    with open(source, "wb") as written:
        written.truncate(s3_upload.MAX_S3_BYTES + 1)
    store = open_bucket()
    with pytest.raises(Refused) as caught:
        store.put_new(source, A)
    assert caught.value.code == "too_large"
    assert "5 GiB" in caught.value.message
    assert store.list(None, 10) == []


def test_only_what_dead_uploads_left_is_swept(open_bucket: OpenBucket, raw: S3Store) -> None:
    store = open_bucket("library")
    for key in ("library/.lumilio/temp/a", "library/.lumilio/temp/b", "library/.lumilio/other", "library/c"):
        obstore.put(raw, key, b"x")
    now = obstore.head(raw, "library/c")["last_modified"]
    s3_probe.sweep(store.bucket, now + s3_probe.STALE * 0.99)
    assert len(keys(raw)) == 4
    s3_probe.sweep(store.bucket, now + s3_probe.STALE * 1.01)
    assert keys(raw) == ["library/.lumilio/other", "library/c"]


def test_reading_on_asks_for_more_at_once() -> None:
    asked: list[tuple[int, int]] = []

    def fetch(start: int, end: int) -> bytes:
        asked.append((start, end))
        return bytes(end - start)

    size = 40 << 20
    opened = ranged.Ranged(size, fetch)
    while opened.read(100_000):
        pass
    lengths = [end - start for start, end in asked]
    assert lengths[0] == ranged.FIRST_BYTES
    assert max(lengths) == ranged.MOST_BYTES
    assert sum(lengths) == size
    opened.seek(7)
    assert len(opened.read(10)) == 10
    assert asked[-1] == (7, 7 + ranged.FIRST_BYTES)
