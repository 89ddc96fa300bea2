"""What the command line does without a daemon: usage, exit codes, output."""

import io
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import redirect_stdout, suppress
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from lumiliod import __version__
from lumiliod.cli.main import program
from lumiliod.cli.output import note, print_json, size, table, visible
from lumiliod.cli.program import exit_code
from lumiliod.contract.problems import Problem

LUMILIO = [sys.executable, "-W", "error", "-m", "lumiliod.cli"]


@pytest.fixture
def runner() -> CliRunner:
    return CliRunner(env={"LUMILIO_SOCKET": "/nonexistent/s"})


@pytest.fixture
def silent() -> Iterator[socket.socket]:
    """A socket where somebody listens and never answers."""
    with tempfile.TemporaryDirectory(prefix="lu") as folder, socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{folder}/s")
        listener.listen()
        listener.settimeout(20)
        yield listener


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("version", 0),
        ("--help", 0),
        ("repos add --help", 0),
        ("", 64),
        ("nonsense", 64),
        ("repos", 64),
        ("repos nonsense", 64),
        ("repos files home --outcome nonsense", 64),
        ("assets show not-an-id", 64),
        ("assets list --limit 0", 64),
        ("upload", 64),
        ("status --nonsense", 64),
        ("status", 69),
        ("wait --timeout 1", 69),
        ("repos list", 69),
        ("repos add x --name y", 69),
        ("scan home --wait", 69),
        ("upload /etc/hostname --repo x", 69),
        ("assets list --all", 69),
        ("assets export", 69),
        ("search sunset over water", 69),
        ("jobs list --state discarded", 69),
    ],
)
def test_exit_codes(runner: CliRunner, line: str, code: int) -> None:
    result = runner.invoke(program, line.split())
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output


@pytest.mark.parametrize("line", ["--json status", "status --json", "repos --json list", "repos list --json"])
def test_json_stands_anywhere(runner: CliRunner, line: str) -> None:
    result = runner.invoke(program, line.split())
    assert result.exit_code == 69
    assert result.stdout == ""
    assert json.loads(result.stderr)["error"]["code"] == "unreachable"


@pytest.mark.parametrize("line", ["--socket /x/y status", "status --socket /x/y", "repos --socket=/x/y list"])
def test_the_socket_stands_anywhere(runner: CliRunner, line: str) -> None:
    assert "/x/y" in runner.invoke(program, line.split()).stderr


@pytest.mark.parametrize(
    ("named", "args", "told"),
    [
        (
            None,
            [],
            "no socket /nonexistent/s. Start it: systemctl start lumiliod, or lumiliod run."
            " --socket PATH or LUMILIO_SOCKET names another.",
        ),
        ("/x/y", [], "no socket /x/y. LUMILIO_SOCKET names it; --socket PATH names another."),
        ("/x/y", ["--socket", "/x/z"], "no socket /x/z. --socket names it."),
    ],
)
def test_who_finds_no_daemon_hears_where_it_was_looked_for_and_why(
    named: str | None, args: list[str], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lumiliod.cli.program.DEFAULT_SOCKET", "/nonexistent/s")
    result = CliRunner(env={"LUMILIO_SOCKET": named}).invoke(program, ["status", *args])
    assert (result.exit_code, result.stderr) == (69, f"lumilio: lumiliod is not running: there is {told}\n")


def test_usage_errors_in_json(runner: CliRunner) -> None:
    result = runner.invoke(program, ["stat", "--json"])
    assert result.exit_code == 64
    assert json.loads(result.stderr)["error"]["code"] == "usage"


def test_version(runner: CliRunner) -> None:
    assert json.loads(runner.invoke(program, ["version", "--json"]).stdout) == {"version": __version__}


def test_a_dead_socket(runner: CliRunner, tmp_path: Path) -> None:
    path = tempfile.mktemp(prefix="lu")
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)
    try:
        result = runner.invoke(program, ["status", "--socket", path])
        assert result.exit_code == 69
        assert "nobody listens" in result.stderr
    finally:
        os.unlink(path)


def test_a_socket_path_too_long(runner: CliRunner) -> None:
    assert runner.invoke(program, ["status", "--socket", "/" + "x" * 200]).exit_code == 69


@pytest.mark.skipif(os.geteuid() == 0, reason="root may connect anywhere")
def test_a_forbidden_socket(runner: CliRunner, silent: socket.socket) -> None:
    os.chmod(silent.getsockname(), 0)
    assert runner.invoke(program, ["status", "--socket", silent.getsockname()]).exit_code == 77


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (400, "bad_request", 64),
        (401, "x", 77),
        (403, "forbidden", 77),
        (404, "not_found", 1),
        (409, "conflict", 1),
        (422, "corrupt", 1),
        (500, "internal", 1),
        (503, "unavailable", 75),
        (503, "unreachable", 69),
        (507, "no_space", 75),
    ],
)
def test_problems_have_exit_codes(status: int, code: str, expected: int) -> None:
    assert exit_code(Problem(title="x", status=status, code=code)) == expected


@given(st.text())
def test_names_cannot_control_a_terminal(name: str) -> None:
    shown = visible(name)
    assert not any(ord(c) < 32 or 127 <= ord(c) < 160 for c in shown)
    assert "\u202e" not in shown
    shown.encode()


def test_names_are_shown_escaped() -> None:
    assert visible("a\x1b[31m\n.jpg") == "a\\x1b[31m\\n.jpg"
    assert visible("ü 東京 🏔.jpg") == "ü 東京 🏔.jpg"
    assert visible("caf\udce9") == "caf\\udce9"


def test_notes_cannot_control_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    note("a\x1b]0;b\x07.jpg: it went")
    note(visible("a\x1b.jpg"))
    assert capsys.readouterr().err == "a\\x1b]0;b\\x07.jpg: it went\na\\x1b.jpg\n"


@given(st.text())
def test_json_cannot_control_a_terminal_and_means_the_same(text: str) -> None:
    out = io.StringIO()
    with redirect_stdout(out):
        print_json({"name": text.encode("utf-8", "replace").decode()})
    shown = out.getvalue()
    assert all(c == "\n" or visible(c) == c for c in shown)
    assert msgspec.json.decode(shown) == {"name": text.encode("utf-8", "replace").decode()}


def test_a_piped_table_is_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    table(("Name", "Size"), [("a", 1), ("longer", 1000), (None, 5)], right=["Size"])
    assert capsys.readouterr().out == "Name    Size\na          1\nlonger  1000\n-          5\n"


def test_a_terminal_gets_a_drawn_table(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    table(("Name",), [("[bold]x[/bold]\x07",)])
    assert "[bold]x[/bold]\\x07" in terminal.getvalue()
    assert "─" in terminal.getvalue() or "━" in terminal.getvalue()


@pytest.mark.parametrize(
    ("size_bytes", "text"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (1 << 50, "1024.0 TiB")]
)
def test_sizes(size_bytes: int, text: str) -> None:
    assert size(size_bytes) == text


def test_interrupted(silent: socket.socket) -> None:
    with subprocess.Popen(
        [*LUMILIO, "--socket", silent.getsockname(), "status"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        silent.accept()[0].close()  # it knocks first
        connection, _ = silent.accept()
        with connection:
            assert connection.recv(10).startswith(b"GET ")
            while process.poll() is None:  # Python misses one that arrives just before it blocks in a system call
                process.send_signal(signal.SIGINT)
                with suppress(subprocess.TimeoutExpired):
                    process.wait(1)
            out, err = process.communicate()
    assert process.returncode == 130
    assert b"Traceback" not in err
    assert out == b""


def test_a_closed_pipe_is_quiet() -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([*LUMILIO, "--help"], stdout=write, stderr=subprocess.PIPE, check=False)
    os.close(write)
    assert done.stderr == b""


def test_it_starts_quickly_and_lightly() -> None:
    """Help needs neither httpx nor rich."""
    code = (
        "import sys; from lumiliod.cli.main import program\n"
        "assert not {'httpx', 'rich', 'trio', 'textual'} & set(sys.modules), sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
