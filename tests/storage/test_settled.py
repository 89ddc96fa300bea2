"""Whether somebody is writing a file: what the system says, and what its age says where the system does not."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lumiliod.domain.errors import Unavailable
from lumiliod.storage.digesting import digest_file
from lumiliod.storage.settled import is_being_written


def test_a_file_is_settled_when_its_last_writer_has_closed_it(tmp_path: Path) -> None:
    path = tmp_path / "f.jpg"
    with path.open("wb") as first, path.open("r+b") as second:
        first.write(b"half")
        first.flush()
        os.utime(path, (1, 1))
        with pytest.raises(Unavailable, match="is being written") as caught:
            digest_file(str(path), settled=True)
        assert caught.value.code == "unstable"
        first.close()
        with pytest.raises(Unavailable, match="is being written"):
            digest_file(str(path), settled=True)
        second.close()
        assert digest_file(str(path), settled=True)[1].size_bytes == 4


def test_whoever_reads_it_or_opens_it_afterwards_is_in_nobodys_way(tmp_path: Path) -> None:
    path = tmp_path / "f.jpg"
    path.write_bytes(b"x")
    with path.open("rb") as reader:
        assert not is_being_written(reader.fileno())
        assert not is_being_written(reader.fileno())
        # no lease is left that would make this wait
        with path.open("r+b"):
            assert is_being_written(reader.fileno())


@pytest.mark.skipif(os.getuid() != 0, reason="needs another user")
def test_of_a_file_of_others_its_age_tells(tmp_path: Path) -> None:
    script = tmp_path / "say.py"
    path = tmp_path / "f.jpg"
    path.write_bytes(b"x")
    path.chmod(0o644)
    for age_s, said in ((3600, "False"), (-3600, "False"), (0, "True")):
        at = time.time() - age_s
        os.utime(path, (at, at))
        descriptor = os.open(path, os.O_RDONLY)
        code = (
            "import os, sys; os.setgroups([]); os.setresgid(65534, 65534, 65534)\n"
            "from lumiliod.storage.settled import is_being_written\n"
            "os.setresuid(65534, 65534, 65534); print(is_being_written(int(sys.argv[1])))"
        )
        script.write_text(code)
        command = [sys.executable, str(script), str(descriptor)]
        done = subprocess.run(command, pass_fds=[descriptor], capture_output=True, text=True)
        os.close(descriptor)
        assert done.stdout.strip() == said, done.stderr
