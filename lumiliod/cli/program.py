"""What every command shares: options that stand anywhere, errors that become exit codes."""

import io
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

import click
import msgspec

from lumiliod.cli.output import print_line, visible
from lumiliod.contract.problems import Problem

if TYPE_CHECKING:
    from lumiliod.client import Client

DEFAULT_SOCKET = "/run/lumilio/lumiliod.sock"
START = "systemctl start lumiliod, or lumiliod run"

FAILURE = 1
USAGE = 64
DATA = 65
UNAVAILABLE = 69
TEMPORARY = 75
FORBIDDEN = 77
CONFIG = 78
"""Exit codes of sysexits.h."""

INTERRUPTED = 130


@dataclass
class Options:
    """The global options, wherever on the command line they were given."""

    socket: str
    json: bool = False
    origin: str = "--socket names it."
    """Says of the socket who chose it, and how to choose another."""


class Failed(Exception):
    """A command failed: shown once, then the process exits with ``code``."""

    def __init__(self, problem: Problem, code: int = FAILURE) -> None:
        super().__init__(problem.detail or problem.title)
        self.problem = problem
        self.code = code


class Command(click.Command):
    """A command that takes the global options after its name, too."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params.extend(_global_options())


class Group(click.Group):
    """A noun with its verbs."""

    command_class = Command
    group_class = type

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params.extend(_global_options())


class Program(Group):
    """The whole command line: it exits with a code that says what happened, and never shows a traceback."""

    def main(self, args: Sequence[str] | None = None, *rest: Any, **extra: Any) -> NoReturn:
        """Run and exit."""
        given = list(sys.argv[1:] if args is None else args)
        options = _options(os.environ.get("LUMILIO_SOCKET"))
        extra.update(standalone_mode=False, obj=options)
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")
        try:
            code = super().main(given, *rest, **extra)
        except click.UsageError as error:
            as_json = options.json or "--json" in given
            if not as_json:
                error.show()
            else:
                _show(Problem(title="Bad usage", status=400, code="usage", detail=error.format_message()), as_json)
            sys.exit(USAGE)
        except (click.Abort, KeyboardInterrupt):
            sys.exit(INTERRUPTED)
        except click.ClickException as error:
            _show(Problem(title="Failed", status=500, code="failed", detail=error.format_message()), options.json)
            sys.exit(FAILURE)
        except Failed as error:
            _show(error.problem, options.json)
            sys.exit(error.code)
        sys.exit(code if isinstance(code, int) else 0)


@contextmanager
def connected(options: Options) -> Iterator["Client"]:
    """Open a client; what it raises becomes :class:`Failed` with the right exit code."""
    from lumiliod.client import Client, ClientError

    try:
        with Client(options.socket) as client:
            yield client
    except ClientError as error:
        problem = error.problem
        code = exit_code(problem)
        if problem.code == "unreachable":
            problem = msgspec.structs.replace(problem, detail=f"{problem.detail} {options.origin}")
        raise Failed(problem, code) from error


def must_ask(yes: bool) -> bool:
    """Tell whether a person is to be asked first: unless ``yes`` was said.

    Raises:
        click.UsageError: there is nobody to ask.
    """
    if not yes and not sys.stdin.isatty():
        raise click.UsageError("There is nobody to ask: add --yes.")
    return not yes


def exit_code(problem: Problem) -> int:
    """Return the exit code a problem ends the process with."""
    if problem.code == "unreachable":
        return UNAVAILABLE
    return {400: USAGE, 401: FORBIDDEN, 403: FORBIDDEN, 503: TEMPORARY, 507: TEMPORARY}.get(problem.status, FAILURE)


def _options(named: str | None) -> Options:
    if named:
        return Options(socket=named, origin="LUMILIO_SOCKET names it; --socket PATH names another.")
    return Options(socket=DEFAULT_SOCKET, origin=f"Start it: {START}. --socket PATH or LUMILIO_SOCKET names another.")


def _show(problem: Problem, as_json: bool) -> None:
    """Tell the person, or the program, what went wrong."""
    if as_json:
        print_line({"error": problem}, err=True)
    else:
        click.echo(f"lumilio: {visible(problem.detail or problem.title)}", err=True)


def _global_options() -> list[click.Parameter]:
    return [
        click.Option(
            ["--socket"], metavar="PATH", expose_value=False, callback=_set_socket, help="The daemon's socket."
        ),
        click.Option(["--json"], is_flag=True, expose_value=False, callback=_set_json, help="Print one JSON document."),
    ]


def _set_socket(context: click.Context, _parameter: click.Parameter, value: str | None) -> None:
    options = context.find_object(Options)
    if value is not None and options is not None:
        options.socket, options.origin = value, Options.origin


def _set_json(context: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if value:
        context.find_object(Options).json = True  # type: ignore[union-attr]  # Program.main put it there
