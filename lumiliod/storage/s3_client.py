"""The client of an object store: which one a URL means, and how long it is waited for.

Credentials may be options, also by reference (``storage/secrets.py``). Those that are none come from where the
provider's own tools take them: the environment (``AWS_ACCESS_KEY_ID``, ``GOOGLE_APPLICATION_CREDENTIALS``,
``AZURE_STORAGE_ACCOUNT_KEY``, ...) or the machine's role.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from obstore.exceptions import BaseError
from obstore.store import AzureStore, GCSStore, S3Store

from lumiliod.domain.errors import ConfigError, Shape
from lumiliod.domain.ids import RepoPath
from lumiliod.storage import s3_keys

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig

_LOCATION = re.compile(r"(?P<scheme>s3|gs|az)://(?P<bucket>[^/?#@:]+)(?:/(?P<prefix>.*?))?/?")

# Told to the HTTP client; every other option to the store.
_CLIENT = frozenset(
    {
        "allow_http",
        "allow_invalid_certificates",
        "proxy_ca_certificate",
        "proxy_excludes",
        "proxy_url",
        "root_certificate",
    }
)

_SECONDS = {
    "connect_timeout_s": 5.0,  # to reach the server
    "read_timeout_s": 60.0,  # without a byte; servers send white space while they copy
    "timeout_s": 900.0,  # a whole request: 8 MiB over a line of 75 kbit/s
    "retry_timeout_s": 120.0,  # after which nothing is tried again
}

_RETRIES = 4
"""Times a failed request is repeated, with exponential backoff and jitter; then the job is put off."""

# A single DELETE is known to every server, DeleteObjects is not; see the manuals of Alibaba OSS and Google's S3 API.
# "multipart" is how S3 itself copies without replacing: CompleteMultipartUpload with If-None-Match.
_S3_DEFAULTS = {"copy_if_not_exists": "multipart", "disable_bulk_delete": "true"}


@dataclass(frozen=True, slots=True)
class Opened:
    """A client, the part of its bucket that is ours (empty, or ending with a slash), and the scheme of its URL."""

    store: S3Store | GCSStore | AzureStore
    prefix: str
    scheme: str


def opened(location: str, options: Mapping[str, str]) -> Opened:
    """Return the client for a location; nothing is asked of the store.

    Args:
        location: ``s3://bucket/prefix``, ``gs://bucket/prefix`` or ``az://container/prefix``. Nobody else
            stores below the prefix.
        options: ``connect_timeout_s``, ``read_timeout_s``, ``timeout_s``, ``retry_timeout_s`` (seconds),
            ``max_retries``; ``allow_http``, ``root_certificate`` (PEM) and the like; settings of the store
            by the names of its configuration in obstore, such as ``endpoint``, ``region``, ``access_key_id``,
            ``secret_access_key``, ``virtual_hosted_style_request``.

    Raises:
        ConfigError: it is no such location (``bad_location``), or an option is unknown or wrong (``bad_option``).
    """
    found = _LOCATION.fullmatch(location)
    if found is None and "@" in location:
        raise ConfigError("a location holds no credentials: they are options", code="bad_location")
    if found is None:
        raise ConfigError(f"'{location}' is no s3://, gs:// or az:// location", code="bad_location")
    prefix = found["prefix"] or ""
    try:
        s3_keys.key_of("", RepoPath(f"{prefix}/x" if prefix else "x"))
    except Shape as error:
        raise ConfigError(f"'{prefix}' is no prefix of object keys", code="bad_location") from error
    left = dict(options)
    seconds = {name: timedelta(seconds=_number(left, name, default)) for name, default in _SECONDS.items()}
    retry: RetryConfig = {
        "max_retries": int(_number(left, "max_retries", _RETRIES)),
        "retry_timeout": seconds.pop("retry_timeout_s"),
        "backoff": {
            "init_backoff": timedelta(milliseconds=200),
            "max_backoff": timedelta(seconds=10),
            "base": 2,
        },
    }
    client: Any = {name.removesuffix("_s"): value for name, value in seconds.items()}
    client |= {name: left.pop(name) for name in _CLIENT & left.keys()}
    config: Any = _S3_DEFAULTS | left if found["scheme"] == "s3" else left
    return Opened(
        _built(found["scheme"], found["bucket"], config, client, retry), f"{prefix}/" if prefix else "", found["scheme"]
    )


def _built(
    scheme: str, bucket: str, config: Any, client: "ClientConfig", retry: "RetryConfig"
) -> S3Store | GCSStore | AzureStore:
    try:
        match scheme:
            case "s3":
                return S3Store(bucket, config=config, client_options=client, retry_config=retry)
            case "gs":
                return GCSStore(bucket, config=config, client_options=client, retry_config=retry)
            case _:
                return AzureStore(bucket, config=config, client_options=client, retry_config=retry)
    except (BaseError, ValueError, TypeError) as error:
        # The message of the client may hold a value, and a value may be a secret.
        unknown = re.search(r"[Kk]ey:? ['\"](\w+)['\"]", str(error))
        what = f"there is no option '{unknown[1]}'" if unknown else "an option is missing or wrong"
        raise ConfigError(f"cannot open {scheme}://{bucket}: {what}", code="bad_option") from error


def _number(options: dict[str, str], name: str, default: float) -> float:
    text = options.pop(name, None)
    try:
        value = default if text is None else float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1e6:
        raise ConfigError(f"option '{name}' is not a number of 0 or more", code="bad_option")
    return value
