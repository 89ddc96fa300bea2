"""What hostile metadata costs: one bounded try."""

import os
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lumiliod.domain.errors import LumilioError, Unavailable
from lumiliod.media import confinement, exif_values, exiftool, exiftool_process, exiftool_shim
from tests.hostile.films import mkv_of_many_tags
from tests.hostile.parts import jpeg, jpeg_segment, with_segments


async def test_a_file_that_takes_exiftool_long_is_tried_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exiftool_process, "CPU_LIMIT_S", 1)
    endless, good = tmp_path / "tags.mkv", tmp_path / "good.jpg"
    content = mkv_of_many_tags(random.Random(1)).content
    assert content is not None
    endless.write_bytes(content)
    good.write_bytes(jpeg(random.Random(2)))
    async with exiftool.opened("exiftool", 1, 60) as tool:
        [first] = await tool.read([(str(good), str(tmp_path))])
        [pid] = tool.pids
        before, refused, after = await tool.read([(str(path), str(tmp_path)) for path in (good, endless, good)])
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
        [tags] = await tool.read([(str(path), str(tmp_path))])
    assert isinstance(tags, dict)
    if depth <= 900:
        assert tags["File:FileType"] == "JPEG"
        found: Any = next(value for value in tags.values() if isinstance(value, dict))
        levels = 0
        while isinstance(found, dict):
            found, levels = found.get("A", found.get("V")), levels + 1
        assert (levels, found) == ((4, 1) if depth == 4 else (exif_values.MAX_DEPTH, None))


async def test_what_is_odd_of_a_batch_costs_the_others_nothing(tmp_path: Path) -> None:
    """Names that no line carries, that are no text or look like one, a file that is gone, one that is no picture."""
    names = [b"a.jpg", b"line\nbreak.jpg", b"gone.jpg", b"?.jpg", b"\xff.jpg", b"words.jpg", "h\u00f6he.jpg".encode()]
    for number, name in enumerate(names):
        comment = jpeg_segment(0xFE, f"number {number}".encode())
        content = b"no picture" if name == b"words.jpg" else with_segments(jpeg(random.Random(number)), comment)
        (tmp_path / os.fsdecode(name)).write_bytes(content)
    (tmp_path / "gone.jpg").unlink()
    async with exiftool.opened("exiftool", 1, 60) as tool:
        read = await tool.read([(str(tmp_path / os.fsdecode(name)), str(tmp_path)) for name in names])
    kinds = [tags.get("File:FileType") if isinstance(tags, dict) else tags.code for tags in read]
    assert kinds == ["JPEG", "JPEG", "io_error", "JPEG", "JPEG", "TXT", "JPEG"]
    comments = [tags.get("File:Comment") if isinstance(tags, dict) else None for tags in read]
    assert comments == ["number 0", "number 1", None, "number 3", "number 4", None, "number 6"]


async def test_a_batch_is_read_by_all_processes_at_once(tmp_path: Path) -> None:
    paths = []
    for number in range(12):
        path = tmp_path / f"{number}.jpg"
        path.write_bytes(jpeg(random.Random(number)))
        paths.append(str(path))
    async with exiftool.opened("exiftool", 2, 60) as tool:
        read = await tool.read([(path, str(tmp_path)) for path in paths])
        assert len(tool.pids) == 2
    assert [isinstance(tags, dict) and tags["File:FileType"] for tags in read] == ["JPEG"] * 12


async def test_without_exiftool_every_file_may_come_again(tmp_path: Path) -> None:
    async with exiftool.opened(str(tmp_path / "none"), 1, 60) as tool:
        results = await tool.read([("/a", "/"), ("/b", "/")])
    assert [isinstance(result, Unavailable) for result in results] == [True, True]


# a program that is called as exiftool is, and tells what it could do
_TELLING = r"""#!/usr/bin/perl
use Socket;
$| = 1;
my $path = '';
while (my $line = <STDIN>) {
    chomp $line;
    $path = $line if $line =~ m{^/};
    next unless $line eq '-execute';
    my ($folder) = $path =~ m{^(.*)/};
    my $reads = open(my $own, '<', $path) ? 1 : 0;
    my $peeks = open(my $other, '<', "$folder/../secret") ? 1 : 0;
    my $writes = open(my $new, '>', "$folder/new") ? 1 : 0;
    my $changes = open(my $old, '+<', $path) ? 1 : 0;
    my $removes = unlink($path) ? 1 : 0;
    my $talks = socket(my $wire, PF_INET, SOCK_STREAM, 0) ? 1 : 0;
    my $forks = defined fork() ? 1 : 0;
    print qq([{"T:Can":"$reads$peeks$writes$changes$removes$talks$forks"}]\n{ready}\n);
}
"""


async def test_exiftool_can_do_nothing_but_read_the_folders_it_is_given(tmp_path: Path) -> None:
    if confinement.missing(confinement.offered()):
        pytest.skip("this kernel has no landlock or no seccomp")
    program, folder, other = tmp_path / "bin" / "exiftool", tmp_path / "photos", tmp_path / "more"
    for path in (program.parent, folder, other):
        path.mkdir()
    program.write_text(_TELLING)
    program.chmod(0o755)
    (tmp_path / "secret").write_text("secret")
    for path in (folder, other):
        (path / "a.jpg").write_bytes(jpeg(random.Random(1)))
    of_folder, of_other = ((str(path / "a.jpg"), str(path)) for path in (folder, other))
    async with exiftool.opened(str(program), 1, 60) as tool:
        [told] = await tool.read([of_folder])
        [first] = tool.pids
        both = await tool.read([of_folder, of_other])
        assert first in tool.pids
        assert len(tool.pids) == 2, "one for each folder"
    assert [told, *both] == [{"T:Can": "1000000"}] * 3


async def test_a_folder_that_is_another_one_by_now_is_read(tmp_path: Path) -> None:
    folder = tmp_path / "disk"
    folder.mkdir()
    path = folder / "a.jpg"
    path.write_bytes(jpeg(random.Random(1)))
    async with exiftool.opened("exiftool", 1, 60) as tool:
        [before] = await tool.read([(str(path), str(folder))])
        [first] = tool.pids
        folder.rename(tmp_path / "old")
        folder.mkdir()
        path.write_bytes(jpeg(random.Random(1)))
        [after] = await tool.read([(str(path), str(folder))])
        assert first not in tool.pids, "what may not read it any more is ended"
    assert isinstance(before, dict)
    assert before == after


async def test_what_it_cannot_open_comes_again(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(jpeg(random.Random(1)))
    other = tmp_path / "other"
    other.mkdir()
    async with exiftool.opened("exiftool", 1, 60) as tool:
        outside, gone, good = await tool.read(
            [(str(path), str(other)), (str(path), str(tmp_path / "gone")), (str(path), str(tmp_path))]
        )
    assert isinstance(good, dict)
    assert isinstance(gone, Unavailable)
    if confinement.missing(confinement.offered()) is None:
        assert isinstance(outside, Unavailable)
        assert outside.code == "io_error"


async def test_a_program_in_a_prefix_of_its_own_runs(tmp_path: Path) -> None:
    program, library = tmp_path / "env" / "bin" / "exiftool", tmp_path / "env" / "lib" / "said"
    for path in (program, library):
        path.parent.mkdir(parents=True)
    library.write_text("12.0")
    program.write_text(f"#!/usr/bin/perl\nopen(my $f, '<', '{library}') or exit 1; print <$f>;\n")
    program.chmod(0o755)
    assert await exiftool.version(str(program)) == "12.0"
    assert await exiftool.version(str(tmp_path / "none")) is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root reads files of others")
async def test_root_reads_files_of_others(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(jpeg(random.Random(1)))
    path.chmod(0o400)
    os.chown(path, 12345, 12345)
    async with exiftool.opened("exiftool", 1, 60) as tool:
        [tags] = await tool.read([(str(path), str(tmp_path))])
    assert isinstance(tags, dict)
    assert tags["File:FileType"] == "JPEG"


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("setpriv") is None, reason="root with setpriv")
@pytest.mark.parametrize("given", ["+dac_override", "+dac_read_search", "+all"])
def test_of_root_nothing_but_reading_is_left(tmp_path: Path, given: str) -> None:
    """Containers have to do without ``CAP_DAC_READ_SEARCH``; what is inheritable would be handed on."""
    path = tmp_path / "secret"
    path.write_text("mine")
    path.chmod(0o400)
    os.chown(path, 12345, 12345)
    script = "open F, '<', $ARGV[0] and print <F>, qq(\\n); open S, '<', '/proc/self/status'; print grep /^Cap/, <S>"
    shell = exiftool_shim.command([str(tmp_path), "/proc"], ["/usr/bin/perl", "-e", script, str(path)])
    at = shell.index(str(os.getpid()))
    inherited = "+net_admin,+sys_admin" if given == "+all" else "-all"
    code = (
        "import os, sys; argv = sys.argv[1:]; "
        f"argv[{at}] = str(os.getpid()); import subprocess; sys.exit(subprocess.call(argv))"
    )
    privileges = [
        "setpriv",
        f"--inh-caps={inherited}",
        *([] if given == "+all" else [f"--bounding-set=-all,+setpcap,{given}"]),
    ]
    done = subprocess.run(
        [*privileges, sys.executable, "-c", code, *shell], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout.startswith("mine\n"), done.stderr
    held = dict(line.split(":\t") for line in done.stdout.splitlines() if line.startswith("Cap"))
    assert int(held["CapEff"], 16) in (1 << 1, 1 << 2)
    assert int(held["CapInh"], 16) == int(held["CapAmb"], 16) == 0
