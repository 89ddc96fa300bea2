"""Run the daemon on a person's own folder and stay in the foreground: ``make run PHOTOS=~/Pictures``.

The state (database, keys) lies in ``$LUMILIO_STATE``, else ``~/.local/share/lumilio``, and stays.
"""

import importlib.util
import os
import shlex
import sys
import time
from pathlib import Path

from lumiliod.client import Client, ClientError
from lumiliod.contract.repositories import NewRepository, Repository
from scripts.daemon_process import AlreadyRunning, Daemon, DaemonFailed, end_on_signals, running, without_signals

USAGE = """\
run: say which folder: make run PHOTOS=~/Pictures
  The folder becomes a repository: .lumiliorepo, .lumilio/ and inbox/ are made in it; your files stay as they are."""


def main() -> None:
    """Run until Ctrl-C, or until the daemon ends."""
    end_on_signals()
    given = os.environ.get("PHOTOS", "").strip()
    if not given:
        sys.exit(USAGE)
    folder = Path(given).expanduser().absolute()
    default = Path(os.environ.get("XDG_DATA_HOME") or "~/.local/share").expanduser() / "lumilio"
    state = Path(os.environ.get("LUMILIO_STATE") or default).expanduser().absolute()
    state.parent.mkdir(parents=True, exist_ok=True)
    try:
        with running(state) as daemon:
            _serve(daemon, folder)
            without_signals()
    except AlreadyRunning as error:
        print(f"run: {error}", file=sys.stderr)
        lumilio = f"{Path(sys.executable).with_name('lumilio')} --socket {state / 'run' / 'lumiliod.sock'}"
        print(f"  To have it take a folder in: {lumilio} repos add {shlex.quote(str(folder))}", file=sys.stderr)
        sys.exit(os.EX_TEMPFAIL)
    except (DaemonFailed, ClientError) as error:
        sys.exit(f"run: {error}")
    except KeyboardInterrupt:
        print("stopped")


def _serve(daemon: Daemon, folder: Path) -> None:
    with Client(str(daemon.socket)) as client:
        repository = _repository(client, folder)
        client.scan(str(repository.id))
    lumilio = f"{Path(sys.executable).with_name('lumilio')} --socket {daemon.socket}"
    print(f"\n{repository.name}: scanning {repository.path}; Ctrl-C stops the daemon, what is done is kept.")
    print("In another terminal:")
    print(f"  {lumilio} status")
    print(f"  {lumilio} search 'type:photo after:2020'")
    print(f"  {lumilio} repos files {repository.id!s} --outcome corrupt")
    if importlib.util.find_spec("lumilio_tui.__main__"):
        print(f"  {Path(sys.executable).with_name('lumilio-tui')} --socket {daemon.socket}")
    print(flush=True)
    while True:
        daemon.check()
        time.sleep(0.5)


def _repository(client: Client, folder: Path) -> Repository:
    """Return the repository at ``folder``; make it one when it is new."""
    real = os.path.realpath(folder)
    for known in client.repositories():
        if known.path == real:
            return known
    return client.add_repository(NewRepository(path=str(folder)))


if __name__ == "__main__":
    main()
