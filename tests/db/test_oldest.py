"""The oldest PostgreSQL that is supported runs everything, too; an older one and one without pgvector are refused."""

from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
import trio

from lumiliod.db import embedded, migrate
from lumiliod.domain.errors import ConfigError
from tests.conftest import Daemon
from tests.daemon.test_kill import photograph


async def test_postgresql_16_as_a_server_of_ones_own(
    short_dir: Path, tmp_path: Path, make_daemon: Callable[..., Daemon]
) -> None:
    server = embedded.prepare(short_dir / "sixteen", major=16)
    async with trio.open_nursery() as nursery:
        await nursery.start(embedded.serve, server)
        await trio.to_thread.run_sync(embedded.create_database, server)
        config = tmp_path / "lumiliod.toml"
        config.write_text(f'[database]\nurl = "{server.conninfo}"\n')
        root = tmp_path / "repo"
        root.mkdir()
        (root / "a.jpg").write_bytes(photograph(1))
        daemon = make_daemon("--config", str(config), fresh=True)
        await trio.to_thread.run_sync(_scan_through, daemon, root)
        with psycopg.connect(server.conninfo) as conn:
            assert conn.info.server_version // 10_000 == 16
            assert conn.execute("SELECT status FROM assets").fetchone() == ("ready",)
        nursery.cancel_scope.cancel()


def _scan_through(daemon: Daemon, root: Path) -> None:
    daemon.start()
    daemon.cli("repos", "add", str(root), "--name", "own")
    daemon.cli("scan", "own", "--wait")
    daemon.cli("wait", "--timeout", "60")
    assert not (daemon.state_dir / "postgres").exists()
    assert daemon.stop() == 0


def test_what_is_too_old_is_refused(conn: psycopg.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migrate, "MIN_SERVER", 990_000)
    with pytest.raises(ConfigError) as caught:
        migrate.check_server(conn)
    assert caught.value.code == "postgres_too_old"
    monkeypatch.setattr(migrate, "MIN_SERVER", 160_000)
    monkeypatch.setattr(migrate, "MIN_VECTOR", (99, 0))
    with pytest.raises(ConfigError) as caught:
        migrate.check_server(conn)
    assert caught.value.code == "vector_too_old"
