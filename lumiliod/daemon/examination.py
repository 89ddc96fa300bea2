"""``lumiliod doctor``: the same look as a running daemon's, from outside of one."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import trio

from lumiliod import config as configuration
from lumiliod.config import Config
from lumiliod.contract.doctor import EXIT_STATUS, Checkup
from lumiliod.daemon import appliance
from lumiliod.daemon.logs import one_line
from lumiliod.db import embedded, pool
from lumiliod.db.pool import Database
from lumiliod.domain.errors import LumilioError
from lumiliod.library import doctor
from lumiliod.media import media


async def examine(config: Config, environ: Mapping[str, str]) -> Checkup:
    """Look at the machine, the tools, and the database if it can be reached."""
    async with (
        media.opened(appliance.media_settings(config), appliance.media_types()) as room,
        _database(config, environ) as database,
    ):
        return await doctor.outside(config, room, database)


@asynccontextmanager
async def _database(config: Config, environ: Mapping[str, str]) -> AsyncIterator[Database | LumilioError]:
    """Open the database that the configuration names, or the daemon's own while that runs; else say why not."""
    try:
        url = configuration.database_url(config, environ)
        if url is None:
            url = (await trio.to_thread.run_sync(embedded.find, Path(config.state_dir).absolute())).conninfo
    except LumilioError as error:
        yield error
        return
    async with pool.opened(url, pool_size=2, statement_timeout_s=10.0) as database:
        yield database


def told(found: Checkup, *, as_json: bool) -> str:
    """Return what was found, as JSON or in a line each with what helps below it."""
    if as_json:
        return msgspec.json.format(msgspec.json.encode(found), indent=2).decode()
    lines = list[str]()
    for one in found.checks:
        lines.append(f"{one.state:<4}  {one.area}: {one.name}: {one_line(one.told)}")
        if one.fix is not None:
            lines.append(f"      {one_line(one.fix)}")
    return "\n".join(lines)


def status(found: Checkup) -> int:
    """Return the exit status: 0 all is well, 1 something is lacking, 2 something does not work."""
    return max((EXIT_STATUS[one.state] for one in found.checks), default=0)
