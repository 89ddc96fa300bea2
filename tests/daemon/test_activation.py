"""The socket is opened before the daemon and stays: who asks while none runs is answered by the next one."""

import threading
from collections.abc import Callable
from pathlib import Path

from bench.restarting.activated import activated
from lumiliod.client import Client
from lumiliod.contract.status import Health
from tests.conftest import Daemon


def test_requests_between_two_daemons_are_answered(make_daemon: Callable[..., Daemon], tmp_path: Path) -> None:
    stopped = make_daemon()
    config = tmp_path / "lumiliod.toml"
    config.write_text("")
    path = Path(stopped.socket)
    path.unlink(missing_ok=True)
    answers: list[Health] = []

    def ask() -> None:
        with Client(str(path)) as client:
            answers.append(client.health())

    with activated(path, stopped.state_dir, config, tmp_path / "log") as daemon:
        # the first is asked before any runs
        for count in (1, 2):
            asking = threading.Thread(target=ask)
            asking.start()
            daemon.start()
            asking.join()
            assert len(answers) == count
            assert daemon.stop() == 0
            assert path.exists()
    assert answers[0].started_at < answers[1].started_at
