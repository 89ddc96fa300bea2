"""The configuration: one strict TOML file, typed. Every mistake in it is told at once, with its line."""

import difflib
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, TypeVar
from urllib.parse import parse_qs, urlsplit

import msgspec
import msgspec.inspect
from msgspec import Meta, Struct, field
from msgspec.structs import FieldInfo

from lumiliod.domain.errors import ConfigError

SYSTEM_PATH = "/etc/lumilio/lumiliod.toml"
SYSTEM_STATE_DIR = "/var/lib/lumilio"
SYSTEM_SOCKET = "/run/lumilio/lumiliod.sock"
PATH_VARIABLE = "LUMILIO_CONFIG"

SOCKET_MAX_BYTES = 107
"""Longest path of a Unix socket (unix(7): sun_path is 108 bytes with its NUL)."""

_TABLE = re.compile(r"\s*\[\[?\s*([^\]]+?)\s*\]")
_KEY = re.compile(r"\s*((?:[A-Za-z0-9_-]+|\"[^\"]*\"|'[^']*')(?:\s*\.\s*(?:[A-Za-z0-9_-]+|\"[^\"]*\"|'[^']*'))*)\s*=")

_OCTAL = "octal"
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}

_S = TypeVar("_S", bound=Struct)
_Count = Annotated[int, Meta(ge=0, le=1024)]
_Lanes = Annotated[int, Meta(ge=1, le=256)]


class Server(Struct, frozen=True, forbid_unknown_fields=True):
    """The API's socket. ``socket`` is its absolute path, always filled in by :func:`load`.

    Its mode and group are systemd's to say where systemd opens it (``lumiliod.socket``).
    """

    socket: str = ""
    socket_group: str = ""
    socket_mode: Annotated[int, Meta(ge=0, le=0o777, description=_OCTAL)] = 0o660


class Database(Struct, frozen=True, forbid_unknown_fields=True):
    """PostgreSQL; without ``url`` and ``url_file`` the daemon runs its own. See :func:`database_url`."""

    url: str = ""
    url_file: str = ""
    pool_size: Annotated[int, Meta(ge=2, le=100)] = 8
    statement_timeout_s: Annotated[int, Meta(ge=1, le=3600)] = 30


class Storage(Struct, frozen=True, forbid_unknown_fields=True):
    """Limits of repositories, in MiB (``max_upload_mb`` 0: none); days until the trash is purged (0: never).

    ``secrets_dir`` is where files of mirrors' secrets lie: see :func:`secrets_dir`.
    """

    min_free_mb: Annotated[int, Meta(ge=0, le=1 << 30)] = 1024
    max_upload_mb: Annotated[int, Meta(ge=0, le=1 << 30)] = 0
    duplicates: Literal["skip", "link", "keep"] = "skip"
    trash_days: Annotated[int, Meta(ge=0, le=36_500)] = 30
    secrets_dir: str = ""


class Media(Struct, frozen=True, forbid_unknown_fields=True):
    """Decoding of files in worker processes; ``workers`` 0 means one per core, as far as the memory goes.

    ``web_videos``, ``web_audios``: whether what some browser does not play gets a version that every browser does.
    ``web_videos_budget_mb``: what films may take so in each repository, in MiB; 0 means whatever they take.
    ``web_photos_budget_mb``: the same of photos in full size, which are made when somebody asks for them.
    ``video_encoder``: what encodes them; ``auto`` is a graphics card that can, else software.
    ``hls_cache_mb``: what pieces of films for streaming may take on a repository's disk, in MiB (0: none are made).
    """

    workers: _Count = 0
    memory_limit_mb: Annotated[int, Meta(ge=256, le=1 << 20)] = 2048
    wall_limit_s: Annotated[int, Meta(ge=1, le=86_400)] = 60
    max_megapixels: Annotated[int, Meta(ge=1, le=100_000)] = 1000
    thumbnail_format: Literal["jpeg", "webp"] = "jpeg"
    thumbnail_quality: Annotated[int, Meta(ge=1, le=100)] = 80
    exiftool: Annotated[str, Meta(min_length=1)] = "exiftool"
    web_videos: bool = True
    web_videos_budget_mb: Annotated[int, Meta(ge=0, le=1 << 30)] = 0
    web_audios: bool = True
    web_photos_budget_mb: Annotated[int, Meta(ge=0, le=1 << 30)] = 2048
    video_encoder: Literal["auto", "software", "h264_nvenc", "h264_qsv"] = "auto"
    hls_cache_mb: Annotated[int, Meta(ge=0, le=1 << 30)] = 2048


class Concurrency(Struct, frozen=True, forbid_unknown_fields=True):
    """How many jobs of each queue run at once; ``media`` 0 means two more than cores."""

    ingest: _Lanes = 5
    media: _Count = 0
    transcode: _Lanes = 1
    develop: _Lanes = 1
    ml: _Lanes = 1
    maintenance: _Lanes = 1
    integrity: _Lanes = 2


class Jobs(Struct, frozen=True, forbid_unknown_fields=True):
    """The job queue: seconds and days."""

    concurrency: Concurrency = field(default_factory=Concurrency)
    lease_s: Annotated[int, Meta(ge=5, le=3600)] = 30
    shutdown_grace_s: Annotated[int, Meta(ge=0, le=600)] = 2
    history_days: Annotated[int, Meta(ge=1, le=3650)] = 14


class Integrity(Struct, frozen=True, forbid_unknown_fields=True):
    """Reading again and second copies: days (0: never), MiB a second (0: as fast as it goes), copies in all."""

    scrub_days: Annotated[int, Meta(ge=0, le=365)] = 30
    scrub_mb_per_s: Annotated[int, Meta(ge=0, le=100_000)] = 20
    heal: bool = False
    copies: Annotated[int, Meta(ge=1, le=16)] = 1


class Watch(Struct, frozen=True, forbid_unknown_fields=True):
    """Noticing changes on disk; ``debounce_ms``: how long it is quiet before it is looked at, in milliseconds."""

    enabled: bool = True
    debounce_ms: Annotated[int, Meta(ge=10, le=60_000)] = 500


class Log(Struct, frozen=True, forbid_unknown_fields=True):
    """What is logged and how; ``auto`` is the journal under systemd, with fields, and text elsewhere.

    ``limit_per_minute``: how often the same is logged in a minute before it is only counted (0: without a limit).
    """

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "text", "json", "journal"] = "auto"
    limit_per_minute: Annotated[int, Meta(ge=0, le=100_000)] = 60


class Config(Struct, frozen=True, forbid_unknown_fields=True):
    """The whole configuration, complete and checked."""

    state_dir: str = SYSTEM_STATE_DIR
    server: Server = field(default_factory=Server)
    database: Database = field(default_factory=Database)
    storage: Storage = field(default_factory=Storage)
    media: Media = field(default_factory=Media)
    jobs: Jobs = field(default_factory=Jobs)
    integrity: Integrity = field(default_factory=Integrity)
    watch: Watch = field(default_factory=Watch)
    log: Log = field(default_factory=Log)


def load(
    path: str | None, *, state_dir: str | None, environ: Mapping[str, str], system_path: str = SYSTEM_PATH
) -> Config:
    """Return the effective configuration.

    Args:
        path: the file the person named; it must exist.
        state_dir: what the person named on the command line; wins over the file.
        environ: ``LUMILIO_CONFIG`` names a file, too, when ``path`` is None; it must exist.
        system_path: read last, if it exists; without any file the defaults hold.

    Raises:
        ConfigError: with every mistake of the file, one per line as ``path:line: key: what``.
    """
    named = path or environ.get(PATH_VARIABLE) or None
    text = _read(named or system_path, required=named is not None)
    return parse(text, source=named or system_path, state_dir=state_dir)


def parse(text: str, *, source: str = "lumiliod.toml", state_dir: str | None = None) -> Config:
    """Return the configuration ``text`` says; ``source`` names it in errors. Raises as :func:`load`."""
    try:
        tree = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        place = re.search(r" \(at (?:line (\d+), column \d+|end of document)\)$", str(error))
        line = (place and place[1]) or str(text.count("\n") + 1)
        what = str(error)[: place.start()] if place else str(error)
        raise ConfigError(f"{source}:{line}: not TOML: {what}", code="config_invalid") from error
    mistakes = _Mistakes(source, _key_lines(text))
    config = _section(tree, Config, (), mistakes)
    config = _resolved(config, state_dir, mistakes)
    mistakes.raise_any()
    return config


def default_text() -> str:
    """Return the documented configuration file: every key with its default."""
    here = Path(__file__).parent
    installed = here / "lumiliod.toml"
    path = installed if installed.exists() else here.parent / "config" / "lumiliod.toml"
    return path.read_text("utf-8")


def show(config: Config) -> str:
    """Return the effective configuration as TOML, without secrets."""
    lines: list[str] = []
    _render(config, (), lines)
    return "\n".join(lines).lstrip("\n") + "\n"


def database_url(config: Config, environ: Mapping[str, str]) -> str | None:
    """Return the connection string of the database, or None for the daemon's own.

    ``url_file`` is an absolute path, or the name of a systemd credential in ``CREDENTIALS_DIRECTORY``.

    Raises:
        ConfigError: the file cannot be read or is empty (``secret_unreadable``).
    """
    if not config.database.url_file:
        return config.database.url or None
    return secret("database.url_file", config.database.url_file, environ)


def secrets_dir(config: Config) -> str:
    """Return the folder that files of mirrors' secrets are in; by default ``secrets`` in the state folder."""
    return config.storage.secrets_dir or os.path.join(config.state_dir, "secrets")


def secret(key: str, reference: str, environ: Mapping[str, str]) -> str:
    """Return what a secret's file says, without white space around it.

    Args:
        key: what is named so, for people.
        reference: an absolute path, or the name of a systemd credential in ``CREDENTIALS_DIRECTORY``.
        environ: where that is said.

    Raises:
        ConfigError: the file cannot be read, is or is empty (``secret_unreadable``).
    """
    path = Path(reference)
    if not path.is_absolute():
        folder = environ.get("CREDENTIALS_DIRECTORY")
        if not folder:
            message = f"{key}: '{path}' names a systemd credential, but CREDENTIALS_DIRECTORY is not set"
            raise ConfigError(message, code="secret_unreadable")
        if path.name != reference:
            raise ConfigError(f"{key}: '{path}' is no name of a systemd credential", code="secret_unreadable")
        path = Path(folder) / path
    try:
        text = path.read_bytes().decode("utf-8").strip()
    except OSError as error:
        raise ConfigError(f"{key}: cannot read {path}: {error.strerror}", code="secret_unreadable") from error
    except UnicodeDecodeError as error:
        # without the cause, which quotes what it could not read
        raise ConfigError(f"{key}: {path} is not UTF-8", code="secret_unreadable") from error
    if not text:
        raise ConfigError(f"{key}: {path} is empty", code="secret_unreadable")
    return text


class _Mistakes:
    """Collect what is wrong, each with its line."""

    def __init__(self, source: str, lines: Mapping[tuple[str, ...], int]) -> None:
        self._source = source
        self._lines = lines
        self._found: list[tuple[int, str]] = []

    def add(self, key: tuple[str, ...], what: str) -> None:
        near = key
        while near and near not in self._lines:
            near = near[:-1]
        line = self._lines.get(near, 1)
        self._found.append((line, f"{self._source}:{line}: {'.'.join(key)}: {what}"))

    def raise_any(self) -> None:
        if self._found:
            lines = [text for _, text in sorted(self._found, key=lambda pair: pair[0])]
            raise ConfigError("\n".join(lines), code="config_invalid", mistakes=lines)


def _read(path: str, *, required: bool) -> str:
    try:
        return Path(path).read_bytes().decode("utf-8")
    except FileNotFoundError as error:
        if required:
            raise ConfigError(f"{path}: there is no such file", code="config_missing") from error
        return ""
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8: {error}", code="config_invalid") from error
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}", code="config_missing") from error


def _resolved(config: Config, state_dir: str | None, mistakes: _Mistakes) -> Config:
    """Fill in what follows from other keys and check what msgspec cannot."""
    if state_dir is not None:
        chosen = os.path.abspath(state_dir)  # noqa: PTH100
    else:
        chosen = config.state_dir
        if not chosen.startswith("/"):
            mistakes.add(("state_dir",), f"expected an absolute path, got {_toml(chosen)}")
    socket = config.server.socket
    if not socket:
        socket = SYSTEM_SOCKET if chosen == SYSTEM_STATE_DIR else os.path.join(chosen, "run", "lumiliod.sock")
    elif not socket.startswith("/"):
        mistakes.add(("server", "socket"), f"expected an absolute path, got {_toml(socket)}")
    if len(os.fsencode(socket)) > SOCKET_MAX_BYTES:
        mistakes.add(("server", "socket"), f"expected at most {SOCKET_MAX_BYTES} bytes, got {_toml(socket)}")
    folder = config.storage.secrets_dir
    if folder and not folder.startswith("/"):
        mistakes.add(("storage", "secrets_dir"), f"expected an absolute path, got {_toml(folder)}")
    database = config.database
    if database.url and database.url_file:
        mistakes.add(("database", "url_file"), "expected url or url_file, got both")
    if database.url and _has_password(database.url):
        mistakes.add(
            ("database", "url"),
            "expected a URL without a password, got one with: put it in a file only the daemon can read "
            "and name that in database.url_file",
        )
    server = msgspec.structs.replace(config.server, socket=socket)
    return msgspec.structs.replace(config, state_dir=chosen, server=server)


def _has_password(url: str) -> bool:
    """Tell whether a libpq URL or keyword string carries a password."""
    if "://" not in url:
        return re.search(r"(?:^|\s)(?:ssl)?password\s*=", url) is not None
    try:
        parts = urlsplit(url)
    except ValueError:
        return True  # not worth guessing: it must not be shown
    return bool(parts.password) or any(name in parse_qs(parts.query) for name in ("password", "sslpassword"))


def _section(tree: Mapping[str, object], kind: type[_S], at: tuple[str, ...], mistakes: _Mistakes) -> _S:
    """Build one section from its table, collecting every mistake; a wrong key keeps its default."""
    known = {info.name: info for info in msgspec.structs.fields(kind)}
    values: dict[str, object] = {}
    for key, value in tree.items():
        info = known.get(key)
        if info is None:
            mistakes.add((*at, key), f"expected a known key, got an unknown one{_hint(key, at, known)}")
        elif isinstance(info.type, type) and issubclass(info.type, Struct):
            if isinstance(value, dict):
                values[key] = _section(value, info.type, (*at, key), mistakes)
            else:
                mistakes.add((*at, key), f"expected a table [{'.'.join((*at, key))}], got {_toml(value)}")
        else:
            try:
                values[key] = msgspec.convert(value, info.type)
            except msgspec.ValidationError:
                mistakes.add((*at, key), f"expected {_expected(info.type)}, got {_toml(value, info.type)}")
    return kind(**values)


def _hint(key: str, at: tuple[str, ...], known: Mapping[str, FieldInfo]) -> str:
    """Return what the person may have meant by an unknown key."""
    elsewhere = [path for path in _keys(Config, ()) if path[-1] == key]
    if elsewhere:
        return f"; it belongs in [{'.'.join(elsewhere[0][:-1])}]" if elsewhere[0][:-1] else "; it belongs at the top"
    near = difflib.get_close_matches(key, known, n=1)
    return f"; did you mean {'.'.join((*at, near[0]))}?" if near else f"; known are {', '.join(known)}"


def _keys(kind: type[Struct], at: tuple[str, ...]) -> list[tuple[str, ...]]:
    """Return the path of every key below ``kind``, sections included."""
    paths: list[tuple[str, ...]] = []
    for info in msgspec.structs.fields(kind):
        paths.append((*at, info.name))
        if isinstance(info.type, type) and issubclass(info.type, Struct):
            paths += _keys(info.type, (*at, info.name))
    return paths


def _expected(kind: object) -> str:
    """Return in words what a value of ``kind`` has to be."""
    found = msgspec.inspect.type_info(kind)
    match found:
        case msgspec.inspect.Metadata(type=msgspec.inspect.IntType(ge=int() as low, le=int() as high)):
            return f"an octal number from 0o{low:o} to 0o{high:o}"
        case msgspec.inspect.IntType(ge=int() as low, le=int() as high):
            return f"a whole number from {low} to {high}"
        case msgspec.inspect.BoolType():
            return "true or false"
        case msgspec.inspect.LiteralType(values=values):
            return " or ".join(f'"{value}"' for value in values)
        case msgspec.inspect.StrType(min_length=None):
            return "text"
        case msgspec.inspect.StrType():
            return "text that is not empty"
        case _:
            raise AssertionError(found)


def _toml(value: object, kind: object = None) -> str:
    """Return a value as TOML writes it, on one line; ``kind`` tells whether a number is octal."""
    match value:
        case bool():
            return "true" if value else "false"
        case int() if isinstance(msgspec.inspect.type_info(kind), msgspec.inspect.Metadata):
            return f"0o{value:o}"
        case str():
            text = "".join(map(_escaped, value))
            return f'"{text}"'
        case dict():
            return "a table"
        case list():
            return "a list"
        case _:
            return str(value)


def _escaped(char: str) -> str:
    if char in _ESCAPES:
        return _ESCAPES[char]
    return char if char.isprintable() else f"\\U{ord(char):08x}"


def _render(section: Struct, at: tuple[str, ...], lines: list[str]) -> None:
    """Write a section's own keys, then its subsections."""
    below: list[tuple[str, Struct]] = []
    for info in msgspec.structs.fields(section):
        value: object = getattr(section, info.name)
        if isinstance(value, Struct):
            below.append((info.name, value))
            continue
        match (*at, info.name):
            case ("database", "url") if isinstance(value, str) and _has_password(value):
                text = '"(hidden)"'
            case _:
                text = _toml(value, info.type)
        lines.append(f"{info.name} = {text}")
    for name, part in below:
        lines.extend(["", f"[{'.'.join((*at, name))}]"])
        _render(part, (*at, name), lines)


def _key_lines(text: str) -> dict[tuple[str, ...], int]:
    """Return the line of every key and table header, as far as a line-wise look can tell.

    Lines inside multi-line strings are skipped; keys of inline tables have the line of their table.
    """
    lines: dict[tuple[str, ...], int] = {}
    table: tuple[str, ...] = ()
    quoted = ""
    for number, line in enumerate(text.splitlines(), 1):
        if not quoted:
            if header := _TABLE.match(line):
                table = _key_parts(header[1])
                lines.setdefault(table, number)
            elif key := _KEY.match(line):
                lines.setdefault((*table, *_key_parts(key[1])), number)
        for mark in ('"""', "'''"):
            if quoted in {"", mark} and line.count(mark) % 2:
                quoted = "" if quoted else mark
    return lines


def _key_parts(text: str) -> tuple[str, ...]:
    return tuple(part.strip().strip("\"'") for part in text.split("."))
