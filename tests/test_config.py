import os
import tomllib
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest

from lumiliod import config
from lumiliod.config import Config
from lumiliod.domain.errors import ConfigError


def load(path: Path | None = None, **given: Any) -> Config:
    given = {"state_dir": None, "environ": {}, "system_path": "/nonexistent.toml"} | given
    return config.load(None if path is None else str(path), **given)


def mistakes(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        config.parse(text, source="x.toml")
    return caught.value.message.splitlines()


def test_the_documented_file_is_the_defaults() -> None:
    assert config.parse(config.default_text()) == config.parse("") == load()


def test_the_documented_file_names_and_describes_every_key() -> None:
    tree = tomllib.loads(config.default_text())

    def keys(kind: Any, table: dict[str, Any], at: str) -> None:
        names = [info.name for info in msgspec.structs.fields(kind)]
        assert sorted(table) == sorted(names), at
        for info in msgspec.structs.fields(kind):
            if isinstance(table[info.name], dict):
                keys(info.type, table[info.name], f"{at}{info.name}.")

    keys(Config, tree, "")
    lines = config.default_text().splitlines()
    for before, line in pairwise(lines):
        if "=" in line and not line.startswith("#"):
            assert before.startswith("#"), line


def test_the_documented_file_is_found_when_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lumiliod.toml").write_text("# installed\n")
    monkeypatch.setattr(config, "__file__", str(tmp_path / "config.py"))
    assert config.default_text() == "# installed\n"


def test_search_order(tmp_path: Path) -> None:
    files = {}
    for name in ("named", "variable", "system"):
        files[name] = tmp_path / f"{name}.toml"
        files[name].write_text(f'state_dir = "/{name}"')
    environ = {"LUMILIO_CONFIG": str(files["variable"])}
    system = str(files["system"])
    assert load(files["named"], environ=environ, system_path=system).state_dir == "/named"
    assert load(environ=environ, system_path=system).state_dir == "/variable"
    assert load(system_path=system).state_dir == "/system"
    assert load(files["named"], state_dir="/given").state_dir == "/given"
    assert load(state_dir="relative").state_dir == f"{os.getcwd()}/relative"


def test_a_named_file_must_be_there_and_readable(tmp_path: Path) -> None:
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(ConfigError):
            load(path)
    with pytest.raises(ConfigError):
        load(environ={"LUMILIO_CONFIG": "/none"})
    (tmp_path / "bad.toml").write_bytes(b'a = "\xff"')
    with pytest.raises(ConfigError, match="UTF-8"):
        load(tmp_path / "bad.toml")


def test_the_socket_follows_the_state_dir() -> None:
    assert config.parse("").server.socket == "/run/lumilio/lumiliod.sock"
    assert config.parse("", state_dir="/x").server.socket == "/x/run/lumiliod.sock"
    assert config.parse('state_dir = "/x"').server.socket == "/x/run/lumiliod.sock"
    assert config.parse('[server]\nsocket = "/y"', state_dir="/x").server.socket == "/y"
    assert "at most 107" in mistakes(f'[server]\nsocket = "/{"x" * 107}"')[0]


def test_every_mistake_is_told_at_once_with_its_line() -> None:
    text = """
state_dir = "relative"
sever = 1
[storage]
min_free_md = 5
max_upload_mb = "2"
pool_size = 3
[jobs]
lease_s = 1
[jobs.concurrency]
ingest = true
[log]
level = "loud"
format = 7
[media]
exiftool = ""
workers = 1.5
[server]
socket = \"\"\"
[database]
pool_size = 9999
\"\"\"
[database]
pool_size = 1
[nothing]
x = 1
"""
    assert mistakes(text) == [
        'x.toml:2: state_dir: expected an absolute path, got "relative"',
        "x.toml:3: sever: expected a known key, got an unknown one; did you mean server?",
        "x.toml:5: storage.min_free_md: expected a known key, got an unknown one; did you mean storage.min_free_mb?",
        'x.toml:6: storage.max_upload_mb: expected a whole number from 0 to 1073741824, got "2"',
        "x.toml:7: storage.pool_size: expected a known key, got an unknown one; it belongs in [database]",
        "x.toml:9: jobs.lease_s: expected a whole number from 5 to 3600, got 1",
        "x.toml:11: jobs.concurrency.ingest: expected a whole number from 1 to 256, got true",
        'x.toml:13: log.level: expected "debug" or "error" or "info" or "warning", got "loud"',
        'x.toml:14: log.format: expected "auto" or "journal" or "json" or "text", got 7',
        'x.toml:16: media.exiftool: expected text that is not empty, got ""',
        "x.toml:17: media.workers: expected a whole number from 0 to 1024, got 1.5",
        'x.toml:19: server.socket: expected an absolute path, got "[database]\\npool_size = 9999\\n"',
        "x.toml:24: database.pool_size: expected a whole number from 2 to 100, got 1",
        "x.toml:25: nothing: expected a known key, got an unknown one; known are state_dir, server, database, storage, "
        "media, jobs, integrity, watch, log",
    ]


def test_keys_written_in_other_ways_are_found() -> None:
    assert mistakes("jobs.concurrency.ml = 0\nmedia = 3\nserver = {socket_mode = 4096}") == [
        "x.toml:1: jobs.concurrency.ml: expected a whole number from 1 to 256, got 0",
        "x.toml:2: media: expected a table [media], got 3",
        "x.toml:3: server.socket_mode: expected an octal number from 0o0 to 0o777, got 0o10000",
    ]


@pytest.mark.parametrize(("text", "line"), [("a = \n", 1), ("\n\n[x\n", 3), ('a = "x', 1), ("a = 1\na = 2", 2)])
def test_what_is_not_toml_says_where(text: str, line: int) -> None:
    (told,) = mistakes(text)
    assert told.startswith(f"x.toml:{line}: not TOML: ")


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://lumilio:hunter2@db/lumilio",
        "postgresql://db/lumilio?user=x&password=hunter2",
        "host=db password=hunter2",
    ],
)
def test_a_password_in_the_file_is_refused_and_not_repeated(url: str) -> None:
    (told,) = mistakes(f'[database]\nurl = "{url}"')
    assert told.startswith("x.toml:2: database.url: ")
    assert "url_file" in told
    assert "hunter2" not in told
    shown = config.show(Config(database=config.Database(url=url)))
    assert "hunter2" not in shown


def test_database_url(tmp_path: Path) -> None:
    (tmp_path / "db").write_text("postgresql://lumilio:hunter2@db/lumilio\n")
    (tmp_path / "empty").write_text("\n")

    def url(text: str, **environ: str) -> str | None:
        return config.database_url(config.parse(f"[database]\n{text}"), environ)

    assert url("") is None
    assert url('url = "postgresql://lumilio@/x"') == "postgresql://lumilio@/x"
    assert url(f'url_file = "{tmp_path}/db"') == "postgresql://lumilio:hunter2@db/lumilio"
    assert url('url_file = "db"', CREDENTIALS_DIRECTORY=str(tmp_path)) == "postgresql://lumilio:hunter2@db/lumilio"
    for text in ('url_file = "db"', 'url_file = "/none"', f'url_file = "{tmp_path}/empty"'):
        with pytest.raises(ConfigError) as caught:
            url(text)
        assert caught.value.code == "secret_unreadable"
    assert "got both" in mistakes('[database]\nurl = "postgresql://x"\nurl_file = "y"')[0]


def test_show_gives_the_configuration_back() -> None:
    effective = config.parse('state_dir = "/a \\"b\\\\\\n"\n[server]\nsocket_mode = 0o600\n[log]\nlevel = "debug"')
    shown = config.show(effective)
    assert config.parse(shown) == effective
    assert "socket_mode = 0o600" in shown
