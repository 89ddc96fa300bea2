"""Secrets of backends by reference: a file, or a systemd credential, that is read whenever the backend is opened.

So a key need not lie in the database, and one that was exchanged is used from the next time on.
"""

from collections.abc import Mapping

from lumiliod import config
from lumiliod.domain.errors import ConfigError

SUFFIX = "_file"

SECRETS = frozenset({
    "access_key", "access_key_id", "account_key", "bearer_token", "client_secret", "sas_key", "sas_token",
    "secret_access_key", "service_account_key", "session_token", "sse_customer_key_base64", "token",
})  # fmt: skip
"""Options that may be given as ``<option>_file``; other names that end so are the store's own."""

MAX_BYTES = 16 << 10


def resolved(options: Mapping[str, str], environ: Mapping[str, str]) -> dict[str, str]:
    """Return options with the secrets that ``<option>_file`` refers to: an absolute path, or a systemd credential.

    Raises:
        ConfigError: one cannot be read (``secret_unreadable``), or is given twice (``bad_option``).
    """
    found: dict[str, str] = {}
    for name, value in options.items():
        option = name.removesuffix(SUFFIX)
        if option == name or option not in SECRETS:
            found[name] = value
        elif option in options:
            raise ConfigError(f"give {option} or {name}, not both", code="bad_option")
        else:
            found[option] = config.secret(name, value, environ, max_bytes=MAX_BYTES)
    return found
