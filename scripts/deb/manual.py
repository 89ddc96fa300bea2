"""Write the manual pages and the completions into a folder, from what the commands say of themselves.

``manual.py FOLDER DATE``: a page for each of the three programs, completions of ``lumilio`` for bash, zsh and fish.
"""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
from click.shell_completion import get_completion_class

from lumiliod import __version__
from lumiliod.cli.main import program
from lumiliod.daemon.main import cli

FILES = """.SH FILES
.TP
.I /etc/lumilio/lumiliod.toml
the configuration, every key with its default
.TP
.I /run/lumilio/lumiliod.sock
the socket of the API; members of the group lumilio-admin are administrators
.TP
.I /var/lib/lumilio
the catalogue and everything else the daemon keeps, besides the repositories
"""
SIGNALS = """.SH SIGNALS
.TP
.B SIGTERM, SIGINT
stop in order; a second one stops at once
.TP
.B SIGHUP
read the configuration again: what can change while the daemon runs is changed, what cannot is named
"""
ABOUT = {
    "lumilio": "look after a Lumilio library",
    "lumiliod": "photo, video and audio library daemon",
    "lumilio-tui": "console of a Lumilio library",
}


def page(name: str, section: int, date: str, body: str, also: str) -> str:
    """Return a manual page (man(7)); ``body`` begins with its SYNOPSIS."""
    title = f'.TH {_text(name.upper())} {section} "{date}" "Lumilio {__version__}"'
    return f"{title}\n.SH NAME\n{_text(name)} \\- {ABOUT[name]}\n{body}{FILES}.SH SEE ALSO\n{also}\n"


def described(command: click.Group, name: str) -> str:
    """Return SYNOPSIS, DESCRIPTION, OPTIONS and COMMANDS of a command line."""
    context = click.Context(command, info_name=name)
    lines = [
        ".SH SYNOPSIS",
        f".B {_text(name)}",
        "[\\fIOPTIONS\\fR] \\fICOMMAND\\fR [\\fIARGUMENTS\\fR]",
        ".SH DESCRIPTION",
        _text(command.help or ""),
        ".SH OPTIONS",
        *_options(command, context),
        ".SH COMMANDS",
        *_commands(command, context),
    ]
    return "\n".join(lines) + "\n"


def _commands(group: click.Group, context: click.Context) -> Iterator[str]:
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if command is None or command.hidden:
            continue
        inner = click.Context(command, info_name=name, parent=context)
        if isinstance(command, click.Group):
            yield from _commands(command, inner)
            continue
        usage = " ".join(command.collect_usage_pieces(inner))
        yield f".SS {_text(inner.command_path.partition(' ')[2])} {_text(usage)}"
        for number, paragraph in enumerate(filter(None, (command.help or "").replace("\b", "").split("\n\n"))):
            if number:
                yield ".PP"
            yield _text(" ".join(paragraph.split()))
        yield from _options(command, inner, but=frozenset(("--help", "--json", "--socket")))


def _options(command: click.Command, context: click.Context, but: frozenset[str] = frozenset()) -> Iterator[str]:
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context) if isinstance(parameter, click.Option) else None
        if record is not None and not but & set(parameter.opts):
            yield from (".TP", f".B {_text(record[0])}", _text(record[1]) or "\\&")


def _text(text: str) -> str:
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{escaped}" if escaped.startswith((".", "'")) else escaped


def main(folder: Path, date: str) -> None:
    """Write everything."""
    folder.mkdir(parents=True, exist_ok=True)
    usage = subprocess.run(
        [sys.executable, "-m", "lumilio_tui", "--help"], capture_output=True, text=True, check=True
    ).stdout
    console = f".SH SYNOPSIS\n.B lumilio\\-tui\n[\\fIOPTIONS\\fR]\n.SH DESCRIPTION\n.nf\n{_text(usage)}.fi\n"
    pages = {
        "lumilio.1": page("lumilio", 1, date, described(program, "lumilio"), ".BR lumilio\\-tui (1), lumiliod (8)"),
        "lumilio-tui.1": page("lumilio-tui", 1, date, console, ".BR lumilio (1), lumiliod (8)"),
        "lumiliod.8": page(
            "lumiliod", 8, date, described(cli, "lumiliod") + SIGNALS, ".BR lumilio (1), systemd.service (5)"
        ),
    }
    for shell, name in {"bash": "lumilio.bash", "zsh": "_lumilio", "fish": "lumilio.fish"}.items():
        kind = get_completion_class(shell)
        if kind is None:
            raise RuntimeError(f"click knows no {shell}")
        pages[name] = kind(program, {}, "lumilio", "_LUMILIO_COMPLETE").source()
    for name, text in pages.items():
        (folder / name).write_text(text, "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
