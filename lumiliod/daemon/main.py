"""``lumiliod``: the daemon's own command line."""

import contextlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Sequence
from functools import partial

import click
import trio

from lumiliod import __version__
from lumiliod import config as configuration
from lumiliod.domain.errors import ConfigError, Conflict, LumilioError, Retryable

log = logging.getLogger(__name__)

EX_USAGE, EX_SOFTWARE, EX_TEMPFAIL, EX_CONFIG = 64, 70, 75, 78
"""Exit statuses of sysexits(3)."""

ENDING = (signal.SIGTERM, signal.SIGINT)
LAST_S = 75.0
"""On top of the grace periods: PostgreSQL alone may take a minute."""

_config_option = click.option(
    "--config",
    "config_path",
    type=click.Path(),
    help="Configuration file; else $LUMILIO_CONFIG, else /etc/lumilio/lumiliod.toml.",
)
_state_option = click.option("--state-dir", type=click.Path(), help="Folder of everything the daemon owns.")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="lumiliod")
def cli() -> None:
    """Run a photo, video and audio library that loses nothing."""


@cli.command()
@_config_option
@_state_option
def run(config_path: str | None, state_dir: str | None) -> None:
    """Run the daemon in the foreground until SIGTERM or SIGINT."""
    from lumiliod.daemon import appliance, logs

    load = partial(configuration.load, config_path, state_dir=state_dir, environ=os.environ)
    config = load()
    logs.configure(config.log.level, config.log.format, per_minute=config.log.limit_per_minute)

    async def main() -> None:
        stop = trio.Event()
        # a terminal's says that it is gone; else it asks to read the configuration again, and never ends the daemon
        has_terminal = sys.stderr.isatty()
        ending = (*ENDING, signal.SIGHUP) if has_terminal else ENDING
        with contextlib.ExitStack() as stack:
            hangups = None
            if not has_terminal:
                signal.signal(signal.SIGHUP, signal.SIG_IGN)
                signals = stack.enter_context(trio.open_signal_receiver(signal.SIGHUP))
                hangups = appliance.Hangups(signals, load)
            async with trio.open_nursery() as nursery:
                await nursery.start(_wait_for_signals, ending, stop, nursery.cancel_scope, _longest_s(config))
                await appliance.run(config, stop, os.environ, hangups=hangups)
                nursery.cancel_scope.cancel()

    trio.run(main)


@cli.command()
@_config_option
@_state_option
@click.option(
    "--queue",
    "queues",
    multiple=True,
    metavar="NAME[=COUNT]",
    help="Work on this queue only, on COUNT jobs at once; may be given several times.",
)
def worker(config_path: str | None, state_dir: str | None, queues: tuple[str, ...]) -> None:
    """Work on jobs beside a running daemon until SIGTERM or SIGINT."""
    from lumiliod.daemon import logs
    from lumiliod.daemon import worker as hands

    config = configuration.load(config_path, state_dir=state_dir, environ=os.environ)
    logs.configure(config.log.level, config.log.format, per_minute=config.log.limit_per_minute)
    concurrency = dict(map(_lane, queues))

    async def main() -> None:
        stop = trio.Event()
        async with trio.open_nursery() as nursery:
            await nursery.start(_wait_for_signals, ENDING, stop, nursery.cancel_scope, _longest_s(config))
            await hands.run(config, stop, os.environ, concurrency)
            nursery.cancel_scope.cancel()

    trio.run(main)


def _lane(text: str) -> tuple[str, int]:
    name, separator, count = text.partition("=")
    if separator and not (count.isdecimal() and 1 <= int(count) <= 256):
        raise click.UsageError(f"--queue {text}: COUNT is between 1 and 256")
    return name, int(count or 0)


def _longest_s(config: configuration.Config) -> float:
    """Return how long a shutdown in order may take: lanes, then the API, then the database, each with its grace."""
    return 2 * float(config.jobs.shutdown_grace_s) + LAST_S


def _end_in_any_case(after_s: float) -> None:
    """End the process, later, though something in it refuses to: what it held is with others by then."""

    def end() -> None:
        log.critical("the shutdown does not end; ending the process", extra={"after_s": after_s})
        logging.shutdown()
        os._exit(EX_SOFTWARE)

    timer = threading.Timer(after_s, end)
    timer.daemon = True
    timer.start()


async def _wait_for_signals(
    ending: Sequence[signal.Signals],
    stop: trio.Event,
    scope: trio.CancelScope,
    end_after_s: float,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Stop in order at the first signal, at once at the second."""
    with trio.open_signal_receiver(*ending) as signals:
        task_status.started()
        async for number in signals:
            log.info("stopping", extra={"signal": signal.Signals(number).name})
            if not stop.is_set():
                _end_in_any_case(end_after_s)
            if stop.is_set():
                scope.cancel()
            stop.set()


@cli.group()
def config() -> None:
    """Look at the configuration."""


@config.command()
@_config_option
@_state_option
def check(config_path: str | None, state_dir: str | None) -> None:
    """Check the configuration and say what is wrong, all of it."""
    configuration.load(config_path, state_dir=state_dir, environ=os.environ)
    click.echo("the configuration is good")


@config.command()
@_config_option
@_state_option
def show(config_path: str | None, state_dir: str | None) -> None:
    """Print the configuration in force, secrets hidden."""
    click.echo(configuration.show(configuration.load(config_path, state_dir=state_dir, environ=os.environ)), nl=False)


@config.command()
def default() -> None:
    """Print the documented configuration file with every default."""
    click.echo(configuration.default_text(), nl=False)


@cli.command()
@_config_option
@_state_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def doctor(config_path: str | None, state_dir: str | None, as_json: bool) -> None:
    """Say what is found and what is lacking on this machine.

    lumilio doctor asks a running daemon, too. The exit status is 0 when all is well, 1 when something is lacking, 2
    when something does not work.
    """
    from lumiliod.daemon import examination

    config = configuration.load(config_path, state_dir=state_dir, environ=os.environ)
    found = trio.run(examination.examine, config, os.environ)
    click.echo(examination.told(found, as_json=as_json))
    sys.exit(examination.status(found))


def main() -> None:
    """Run the command line; every expected error is one clear message and its exit status."""
    try:
        cli(standalone_mode=False)
    except click.exceptions.Exit as done:
        sys.exit(done.exit_code)
    except click.UsageError as wrong:
        wrong.show()
        sys.exit(EX_USAGE)
    except click.Abort:
        sys.exit(130)
    except BaseException as caught:
        error = _single(caught)
        if not isinstance(error, LumilioError):
            raise
        click.echo(f"lumiliod: {error.message}", err=True)
        sys.exit(_status(error))


def _status(error: LumilioError) -> int:
    match error:
        case ConfigError():
            return EX_CONFIG
        case Retryable() | Conflict():
            return EX_TEMPFAIL
        case _:
            return 1


def _single(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error
