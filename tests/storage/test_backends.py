import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from blake3 import blake3

from lumiliod.domain.errors import ConfigError, LumilioError, Permanent, Unavailable
from lumiliod.domain.ids import Digest, RepoPath
from lumiliod.storage import backend, verified
from lumiliod.storage.backend import Backend, Links, LocalPaths, Presigned
from lumiliod.storage.local import LocalBackend
from lumiliod.testing import fault_checks
from lumiliod.testing.faults import Fault, Faulty, Plan


def test_a_path_is_a_folder_of_this_host(tmp_path: Path) -> None:
    found = backend.at(str(tmp_path))
    assert isinstance(found, LocalBackend)
    assert isinstance(found, LocalPaths)
    assert isinstance(found, Links)
    assert not isinstance(found, Presigned)
    assert not found.flaky
    assert found.root == str(tmp_path)


@pytest.mark.parametrize(
    ("location", "options", "code"),
    [
        ("relative/path", None, "bad_location"),
        ("", None, "bad_location"),
        ("s3:", None, "bad_location"),
        ("nothing://x", None, "plugin_missing"),
        ("/tmp", {"region": "x"}, "bad_option"),
        ("s3://", None, "bad_location"),
        ("s3:///prefix", None, "bad_location"),
        ("s3://bucket/a//b", None, "bad_location"),
        ("s3://bucket/../b", None, "bad_location"),
        ("s3://bucket?x", None, "bad_location"),
        ("s3://bucket", {"no_such_option": "x"}, "bad_option"),
        ("s3://bucket", {"timeout_s": "soon"}, "bad_option"),
        ("s3://bucket", {"max_retries": "-1"}, "bad_option"),
        ("s3://bucket", {"allow_http": "perhaps"}, "bad_option"),
    ],
)
def test_what_is_no_location_is_told(location: str, options: dict[str, str] | None, code: str) -> None:
    with pytest.raises(ConfigError) as caught:
        backend.at(location, options)
    assert caught.value.code == code


def test_a_url_names_its_plugin() -> None:
    anonymous = {"skip_signature": "true"}
    for location, options in (
        ("s3://bucket", anonymous | {"region": "eu-central-1"}),
        ("s3://bucket/some/prefix/", anonymous),
        ("gs://bucket/prefix", anonymous),
        ("az://container/prefix", anonymous | {"account_name": "account"}),
    ):
        found = backend.at(location, options)
        assert isinstance(found, Presigned)
        assert not isinstance(found, LocalPaths)
        assert found.flaky
        assert not found.local


WITHOUT = """
import sys
sys.modules["obstore"] = None
from lumiliod.domain.errors import ConfigError
from lumiliod.storage import backend
backend.at(sys.argv[1])
try:
    backend.at("s3://bucket")
except ConfigError as error:
    sys.exit(0 if error.code == "extra_missing" and "extra 's3'" in error.message else 3)
sys.exit(4)
"""


def test_without_the_extra_only_the_store_is_missing(tmp_path: Path) -> None:
    assert subprocess.run([sys.executable, "-c", WITHOUT, str(tmp_path)]).returncode == 0


@pytest.mark.parametrize("check", fault_checks.CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("hard_links", [True, False])
def test_faults_of_a_folder(check: Callable[[Backend, str], None], hard_links: bool, tmp_path: Path) -> None:
    root, sources = tmp_path / "root", tmp_path / "sources"
    root.mkdir()
    sources.mkdir()
    check(LocalBackend(str(root), hard_links=hard_links), str(sources))


def test_faults_are_the_same_for_the_same_seed(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"bytes")

    def struck(seed: int) -> list[tuple[str, Fault]]:
        root = tmp_path / f"root-{seed}-{os.urandom(4).hex()}"
        root.mkdir()
        faulty = Faulty(LocalBackend(str(root)), Plan([Fault.IO_ERROR, Fault.BUSY], seed, most=99))
        for number in range(20):
            try:
                faulty.put_new(str(source), RepoPath(f"{number}"))
                faulty.stat(RepoPath(f"{number}"))
            except LumilioError:
                continue
        return faulty.struck

    assert struck(1) == struck(1) != struck(2)


def test_a_digest_read_back_ends_with_the_size(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 3_000_000)
    store = LocalBackend(str(tmp_path))
    digest = Digest(blake3(b"x" * 3_000_000).hexdigest())
    assert verified.digest_of(store, RepoPath("a")) == digest
    assert verified.digest_of(store, RepoPath("a"), 3_000_000) == digest
    assert verified.digest_of(store, RepoPath("a"), 2_999_999) is None


def test_what_breaks_while_it_is_read_back_is_told(tmp_path: Path) -> None:
    content = os.urandom(1000)
    source = tmp_path / "source"
    source.write_bytes(content)
    digest = Digest(blake3(content).hexdigest())
    for fault, error in ((Fault.BROKEN_READ, Unavailable), (Fault.SHORT_READ, Permanent)):
        faulty = Faulty(LocalBackend(str(tmp_path)), Plan([fault], chance=1))
        with pytest.raises(error):
            verified.put_verified(faulty, str(source), RepoPath(f"inbox/{fault}"), digest, len(content))
        assert (tmp_path / "inbox" / fault).read_bytes() == content
