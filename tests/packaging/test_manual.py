"""The manual pages and completions say what the commands say of themselves."""

from pathlib import Path

import click

from lumiliod.cli.main import program
from scripts.deb import manual


def test_every_command_is_described(tmp_path: Path) -> None:
    manual.main(tmp_path, "2026-01-01")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "_lumilio",
        "lumilio-tui.1",
        "lumilio.1",
        "lumilio.bash",
        "lumilio.fish",
        "lumiliod.8",
    ]
    page = (tmp_path / "lumilio.1").read_text()
    context = click.Context(program, info_name="lumilio")
    for name in program.list_commands(context):
        assert f".SS {name}" in page, name
    assert ".SS repos add" in page
    daemon = (tmp_path / "lumiliod.8").read_text()
    assert daemon.startswith('.TH LUMILIOD 8 "2026-01-01"')
    assert ".SS run" in daemon
    assert "SIGHUP" in daemon
    assert "_LUMILIO_COMPLETE=bash_complete" in (tmp_path / "lumilio.bash").read_text()


def test_text_that_would_be_a_request_is_none(tmp_path: Path) -> None:
    manual.main(tmp_path, "2026-01-01")
    for path in tmp_path.glob("*.[18]"):
        for line in path.read_text().splitlines():
            if line.startswith("."):
                assert line.split()[0] in {".TH", ".SH", ".SS", ".B", ".BR", ".I", ".TP", ".PP", ".nf", ".fi"}, line
