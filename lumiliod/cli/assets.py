"""``lumilio assets`` and ``lumilio search``."""

import csv
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING
from uuid import UUID

import click
import msgspec

from lumiliod.cli.output import moment, note, pairs, print_items, print_json, size, table, wall_clock
from lumiliod.cli.program import Command, Failed, Group, Options, connected
from lumiliod.contract.assets import Asset, AssetDetail, Stack
from lumiliod.contract.problems import Problem
from lumiliod.domain.text import visible_json

if TYPE_CHECKING:
    from lumiliod.client import Client

PAGE = 500
_TOLD_APART = {
    "thumbhash",
    "thumbnail_version",
    "appearance",
    "regions",
    "tags",
    "stack",
    "stack_members",
    "companions",
    "versions",
}


@click.group(cls=Group)
def assets() -> None:
    """List, show and export assets."""


@assets.command("list")
@click.option("--all", "everything", is_flag=True, help="All of them instead of the first.")
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, help="At most this many.")
@click.option("--collapsed", is_flag=True, help="Of RAW+JPEG pairs, live photos and bursts what is shown for them.")
@click.pass_obj
def list_some(options: Options, everything: bool, limit: int, collapsed: bool) -> None:
    """List assets, newest first."""
    with connected(options) as client:
        every = client.all_assets(collapsed=collapsed)
        found = list(every) if everything else list(islice(every, limit)) if collapsed else _first(client, limit)
    if options.json:
        print_items(found)
    else:
        _print(found)


@assets.command()
@click.argument("asset_id", metavar="ID", type=click.UUID)
@click.pass_obj
def show(options: Options, asset_id: UUID) -> None:
    """Show one asset and everything its file says of itself."""
    with connected(options) as client:
        found = client.asset(asset_id)
    if options.json:
        print_json(found)
        return
    told = [(field, getattr(found, field)) for field in AssetDetail.__struct_fields__ if field not in _TOLD_APART]
    if found.appearance is not None:
        told += [(field, getattr(found.appearance, field)) for field in found.appearance.__struct_fields__]
    pairs((name, ", ".join(map(str, value)) if isinstance(value, list) else value) for name, value in told)
    if found.stack is not None:
        click.echo()
        members = [
            (m.role, m.name, m.id, "yes" if m.id == found.stack.cover else "", m.why) for m in found.stack_members
        ]
        table((f"In {found.stack.kind}", "Name", "Id", "Cover", "Why"), members)
    if found.companions:
        click.echo()
        read = [(c.kind, c.path, "yes" if c.is_read else "", c.why) for c in found.companions]
        table(("Companion", "Path", "Read", "Why"), read)
    if found.versions:
        click.echo()
        former = [(v.number, v.digest[:16], size(v.size_bytes), moment(v.replaced_at)) for v in found.versions]
        table(("Version", "Digest", "Size", "Replaced"), former, right=["Version", "Size"])
    if found.regions:
        click.echo()
        places = (((r.x, r.y, r.w, r.h), r) for r in found.regions)
        rows = [(r.type, r.name, *(f"{share:.3f}" for share in place)) for place, r in places]
        table(("Region", "Name", "Left", "Top", "Width", "Height"), rows, right=["Left", "Top", "Width", "Height"])
    click.echo()
    pairs(sorted(found.tags.items()))


@assets.command("near-duplicates")
@click.argument("asset_id", metavar="ID", type=click.UUID)
@click.option("--distance", type=click.IntRange(0, 16), help="Bits of 64 that may differ; 8 unless told.")
@click.option("--limit", type=click.IntRange(min=1, max=PAGE), default=50, show_default=True, help="At most this many.")
@click.pass_obj
def near_duplicates(options: Options, asset_id: UUID, distance: int | None, limit: int) -> None:
    """List assets that look like one, the nearest first."""
    with connected(options) as client:
        found = client.near_duplicates(asset_id, distance=distance, limit=limit)
    if options.json:
        print_json(found)
        return
    rows = [(n.asset.id, n.distance, size(n.asset.size_bytes), n.asset.original_filename) for n in found.items]
    table(("Id", "Distance", "Size", "Name"), rows, right=["Distance", "Size"])


@assets.command()
@click.option("--output", type=click.Path(dir_okay=False), help="Write this file, whole or not at all.")
@click.option("--format", "form", type=click.Choice(["json", "jsonl", "csv"]), default="json", show_default=True)
@click.pass_obj
def export(options: Options, output: str | None, form: str) -> None:
    """Export what is known of every asset."""
    count = 0

    def counted(found: Iterable[Asset]) -> Iterator[Asset]:
        nonlocal count
        for asset in found:
            count += 1
            yield asset

    with connected(options) as client:
        try:
            with _destination(output) as file:
                _WRITERS[form](file, counted(client.all_assets()))
        except OSError as error:
            if output is None:
                raise
            detail = f"Cannot write {output}: {error.strerror}."
            raise Failed(Problem(title="Not written", status=500, code="unwritable", detail=detail)) from error
    if output is not None:
        if options.json:
            print_json({"assets": count, "output": output})
        else:
            note(f"{count} assets written to {output}.")


@click.command(cls=Command)
@click.argument("query", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All matches instead of the first.")
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, help="At most this many.")
@click.pass_obj
def search(options: Options, query: tuple[str, ...], everything: bool, limit: int) -> None:
    """Find assets, best or newest first."""
    text = " ".join(query)
    left = sys.maxsize if everything else limit
    with connected(options) as client:
        page = client.search(text, limit=min(left, PAGE))
        found = page.items
        while page.next_cursor is not None and len(found) < left:
            page = client.search(text, limit=min(left - len(found), PAGE), cursor=page.next_cursor)
            found.extend(page.items)
    if options.json:
        print_json(msgspec.structs.replace(page, items=found))
        return
    _print(found)
    if page.total > len(found):
        note(f"{len(found)} of {page.total} shown; --all shows the rest.")


def _first(client: "Client", limit: int) -> list[Asset]:
    if limit <= PAGE:
        return client.assets(limit=limit).items
    return list(islice(client.all_assets(), limit))


def _print(found: list[Asset]) -> None:
    rows = [
        (a.id, a.type, a.status, wall_clock(a.taken_at_local), size(a.size_bytes), a.original_filename) for a in found
    ]
    table(("Id", "Type", "Status", "Taken", "Size", "Name"), rows, right=["Size"])


def _write_json(file: IO[bytes], found: Iterable[Asset]) -> None:
    """Write one list, an asset a line, without holding it all."""
    separator = b"[\n"
    for asset in found:
        file.write(separator + _encoded(asset))
        separator = b",\n"
    file.write(b"[]\n" if separator == b"[\n" else b"\n]\n")


def _encoded(asset: Asset) -> bytes:
    """Return an asset as JSON that cannot control the terminal it may be printed on."""
    return visible_json(msgspec.json.encode(asset).decode()).encode()


def _write_jsonl(file: IO[bytes], found: Iterable[Asset]) -> None:
    for asset in found:
        file.write(_encoded(asset) + b"\n")


def _write_csv(file: IO[bytes], found: Iterable[Asset]) -> None:
    fields = Asset.__struct_fields__

    class Lines:
        def write(self, line: str) -> None:
            file.write(line.encode("utf-8", "backslashreplace"))

    writer = csv.writer(Lines())
    writer.writerow(fields)
    for asset in found:
        writer.writerow([_cell(getattr(asset, name)) for name in fields])


def _cell(value: object) -> object:
    if isinstance(value, list):
        return ";".join(map(str, value))
    if isinstance(value, Stack):
        return f"{value.kind}:{value.cover}"
    return value.isoformat() if isinstance(value, datetime) else value


_WRITERS: dict[str, Callable[[IO[bytes], Iterable[Asset]], None]] = {
    "json": _write_json,
    "jsonl": _write_jsonl,
    "csv": _write_csv,
}


@contextmanager
def _destination(output: str | None) -> Iterator[IO[bytes]]:
    """Open where to write: standard output, or a file that takes its name only when it is whole and on disk."""
    if output is None:
        yield sys.stdout.buffer
        return
    target = Path(output)
    handle, name = tempfile.mkstemp(prefix=f".{target.name[:100]}.", dir=target.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fchmod(handle, target.stat().st_mode & 0o777 if target.exists() else 0o644)
            os.fsync(handle)
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
