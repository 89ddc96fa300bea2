"""Secrets of backends by reference: a file, or a systemd credential, that is read whenever the backend is opened.

So a key need not lie in the database, and one that was exchanged is used from the next time on.

Who may add a mirror chooses the reference and where the secret is sent. So it leads nowhere but into the one folder
that the configuration names for that, or to a credential the unit gives the daemon, and every failure reads the same.
"""

import os
from collections.abc import Mapping
from contextlib import ExitStack

from lumiliod.domain.errors import ConfigError, LumilioError
from lumiliod.domain.ids import shown
from lumiliod.storage import local

SUFFIX = "_file"

SECRETS = frozenset({
    "access_key", "access_key_id", "account_key", "bearer_token", "client_secret", "sas_key", "sas_token",
    "secret_access_key", "service_account_key", "session_token", "sse_customer_key_base64", "token",
})  # fmt: skip
"""Options that may be given as ``<option>_file``; other names that end so are the store's own."""

STORES_OWN = frozenset({
    "application_credentials", "google_application_credentials", "google_service_account",
    "google_service_account_path", "service_account", "service_account_path",
})  # fmt: skip
"""Options of the store, beside those that end with ``_file``, whose value is the path of a file that it reads."""

MAX_BYTES = 16 << 10
_OTHERS_MAY_WRITE = 0o022


def resolved(options: Mapping[str, str], folder: str, environ: Mapping[str, str]) -> dict[str, str]:
    """Return options with the secrets that ``<option>_file`` refers to.

    Args:
        options: as a person gave them. A reference is a systemd credential, or an absolute path below ``folder``;
            what the store itself reads from a file is such a path, too, and stays one.
        folder: where files of secrets lie (``storage.secrets_dir``). It, they and what is between belong to root or
            the daemon, and nobody else may write to them; links are not followed.
        environ: where ``CREDENTIALS_DIRECTORY`` is.

    Raises:
        ConfigError: one cannot be used (``secret_unreadable``), or is given twice (``bad_option``).
    """
    found: dict[str, str] = {}
    for name, value in options.items():
        option = name.removesuffix(SUFFIX)
        if option != name and option in SECRETS:
            if option in options:
                raise ConfigError(f"give {option} or {name}, not both", code="bad_option")
            found[option] = _read(name, value, folder, environ)
        else:
            if name.lower().endswith(SUFFIX) or name.lower() in STORES_OWN:
                _read(name, value if value.startswith("/") else f"/{value}", folder, environ)
            found[name] = value
    return found


def _read(name: str, reference: str, folder: str, environ: Mapping[str, str]) -> str:
    text = ""
    try:
        if reference.startswith("/"):
            inside = reference.startswith(f"{folder.rstrip('/')}/")
            parts = reference.removeprefix(folder).strip("/").split("/") if inside else []
            raw = _content(folder, parts)
        else:
            raw = _content(environ.get("CREDENTIALS_DIRECTORY", ""), [reference] if "/" not in reference else [])
        text = raw.decode("utf-8").strip() if len(raw) <= MAX_BYTES else ""
    except (OSError, ValueError, LumilioError):
        pass
    if not text:
        # the same for whatever failed, and without a cause: it is not told whether any other file exists
        what = f"it is no file of a secret below {shown(folder)} that nobody else may write, and no systemd credential"
        raise ConfigError(f"{name}: {what}", code="secret_unreadable")
    return text


def _content(folder: str, parts: list[str]) -> bytes:
    """Return the beginning of a file below a folder of secrets; raises OSError, ValueError and those of ``local``."""
    if not folder or not parts or {"", ".", ".."}.intersection(parts):
        raise ValueError
    with ExitStack() as opened:
        fd = -1
        for number, part in enumerate([folder, *parts]):
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | (os.O_NOFOLLOW if number else 0)
            above = fd if number else None
            fd = local.open_plain(part, above) if number == len(parts) else os.open(part, flags, dir_fd=above)
            opened.callback(os.close, fd)
            found = os.fstat(fd)
            if found.st_uid not in {0, os.geteuid()} or found.st_mode & _OTHERS_MAY_WRITE:
                raise PermissionError
        with os.fdopen(os.dup(fd), "rb") as file:
            return file.read(MAX_BYTES + 1)
