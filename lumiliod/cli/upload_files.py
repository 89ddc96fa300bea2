"""Which files ``lumilio upload`` means: those named, and with ``-r`` the media files below the folders named."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import click

from lumiliod.cli.output import visible
from lumiliod.domain.ids import shown
from lumiliod.domain.ignore import IgnoreRule
from lumiliod.domain.sidecars import has_media_extension

REASONS = {
    "hidden": "hidden",
    "ignored": "droppings of other programs",
    "link": "symbolic links",
    "not_media": "no media by their names",
    "no_file": "no files",
}
"""Why something below a folder is left out, and in words of many."""

_IGNORED = IgnoreRule()


@dataclass
class Chosen:
    """Files to be sent, in a stable order; what was left out below folders, and why; folders that cannot be read."""

    files: list[str] = field(default_factory=list[str])
    skipped: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    unread: list[tuple[str, OSError]] = field(default_factory=list[tuple[str, OSError]])


def choose(paths: Iterable[str], *, recursive: bool) -> Chosen:
    """Return the files that ``paths`` mean; one that is named is sent whatever it is called.

    Raises:
        click.UsageError: a folder is named, and ``recursive`` was not said.
    """
    found = Chosen()
    for path in paths:
        if not os.path.isdir(path):  # noqa: PTH112  Path.is_dir raises where one may not look
            found.files.append(path)
        elif recursive:
            found.files.extend(_below(path, found))
        else:
            raise click.UsageError(f"{visible(shown(path))} is a folder: -r uploads the media files below it.")
    return found


def _below(folder: str, found: Chosen) -> Iterator[str]:
    """Yield the media files below a folder, by name; links are not followed."""
    pending = [(folder, True)]
    while pending:
        path, is_folder = pending.pop()
        if not is_folder:
            yield path
            continue
        inside: list[tuple[str, bool]] = []
        try:
            with os.scandir(path) as entries:
                for entry in sorted(entries, key=lambda entry: os.fsencode(entry.name)):
                    reason = _reason(entry)
                    if reason is None:
                        inside.append((entry.path, entry.is_dir(follow_symlinks=False)))
                    else:
                        found.skipped.append((entry.path, reason))
        except OSError as error:
            found.unread.append((path, error))
        pending.extend(reversed(inside))


def _reason(entry: "os.DirEntry[str]") -> str | None:
    """Return why an entry is left out, None when it is not."""
    if entry.name.startswith("."):
        return "hidden"
    if _IGNORED.reason(entry.name) is not None:
        return "ignored"
    if entry.is_symlink():
        return "link"
    if entry.is_dir(follow_symlinks=False):
        return None
    if not entry.is_file(follow_symlinks=False):
        return "no_file"
    return None if has_media_extension(entry.name) else "not_media"
