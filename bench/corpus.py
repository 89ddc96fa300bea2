"""Compare what becomes of every file of the corpus with what its manifest says, field by field.

A real daemon scans a copy of the corpus; of every file its outcome and all that the manifest knows of it are looked at.
What differs is either a mistake, or has a written reason in ``corpus_reasons.toml``: a difference without one, and a
reason without a difference, end with status 1. The last line is one JSON object.

    python -m bench.corpus [--corpus FOLDER] [--short]
"""

import argparse
import csv
import datetime as dt
import hashlib
import json
import math
import os
import platform
import shutil
import sys
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from blake3 import blake3

from bench.ingesting.daemon import ingested
from bench.measuring.machine import cpu_name
from lumiliod.client import Client
from lumiliod.contract.assets import AssetDetail
from lumiliod.contract.repositories import File
from scripts.daemon_process import end_on_signals, measuring

CORPUS = Path(__file__).parents[2] / "shared" / "corpus" / "dev"
MANIFEST = "MANIFEST.csv"
REASONS = Path(__file__).with_name("corpus_reasons.toml")

NONE = "-"
DURATION_WITHIN_S = 0.1
NUMBERS_WITHIN = 1e-6
OUTCOMES = {
    "ingest": {"asset", "duplicate"},
    "reject": {"unsupported", "corrupt", "ignored"},
    "sidecar": {"sidecar"},
    "no crash": {"asset", "duplicate", "corrupt", "unsupported"},
    "bounded": {"asset", "too_large", "corrupt"},
}
"""What may become of a file, by the first words of the manifest's expectation."""
HAS_ASSET = {"asset", "duplicate"}
OWN_TURN = {"heic", "avif", "raw"}
"""Kinds whose containers say themselves how they are turned, whatever EXIF says beside it."""

Row = Mapping[str, str]


@dataclass(frozen=True)
class Seen:
    """What the daemon says of a file, and of the asset it is."""

    file: File
    asset: AssetDetail | None


@dataclass(frozen=True)
class Checked:
    """One field of one file: what the manifest says, and what the daemon does."""

    file: str
    field: str
    expected: str
    got: str
    is_right: bool


@dataclass(frozen=True)
class Reason:
    """Why a field differs from the manifest."""

    file: str
    field: str
    got: str
    reason: str


def rows(corpus: Path) -> list[Row]:
    """Return what the manifest says of each file."""
    with (corpus / MANIFEST).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def copy(corpus: Path, to: Path) -> None:
    """Copy the corpus without its manifest, as the library it is to be."""
    shutil.copytree(corpus, to, ignore=shutil.ignore_patterns(MANIFEST))
    to.chmod(0o755)


def seen(client: Client, repository: str) -> dict[str, Seen]:
    """Return what the daemon says of every file of a repository, by path."""
    found = dict[str, Seen]()
    for file in client.files(repository):
        asset_id = file.asset_id if file.outcome in HAS_ASSET else None
        found[file.path] = Seen(file, client.asset(asset_id) if asset_id else None)
    return found


def checked(corpus: Path, told: Mapping[str, Seen]) -> list[Checked]:
    """Compare every field the manifest knows of each file."""
    found = list[Checked]()
    for row in rows(corpus):
        one = told.get(row["file"])
        if one is None:
            found.append(Checked(row["file"], "outcome", row["expect"], "not seen", is_right=False))
            continue
        found += _outcome(row, one)
        if one.asset is not None:
            content = (corpus / row["file"]).read_bytes()
            is_as_listed = hashlib.sha256(content).hexdigest() == row["sha256"]
            digest = blake3(content).hexdigest() if is_as_listed else "another file than the manifest's"
            found.append(_compared(row, "digest", digest, one.asset.digest))
            found += _fields(row, one.asset)
    return found


def reasons(path: Path = REASONS) -> list[Reason]:
    """Return the written reasons."""
    told = tomllib.loads(path.read_text(encoding="utf-8"))["difference"]
    return [Reason(file, one["field"], one["got"], one["reason"]) for one in told for file in _files(one)]


def unexplained(found: Iterable[Checked], known: Iterable[Reason]) -> list[str]:
    """Return, for people, the differences without a reason and the reasons without a difference."""
    differences = {(one.file, one.field, one.got): one for one in found if not one.is_right}
    explained = {(one.file, one.field, one.got) for one in known}
    problems = [
        f"{one.file!r}: {one.field} is {one.got} instead of {one.expected}"
        for key, one in differences.items()
        if key not in explained
    ]
    stale = sorted(explained - differences.keys())
    return problems + [f"{file!r}: {field} is not {got}: a reason without a difference" for file, field, got in stale]


def _files(told: Mapping[str, str | list[str]]) -> list[str]:
    file = told["file"]
    return [file] if isinstance(file, str) else file


def _outcome(row: Row, one: Seen) -> list[Checked]:
    allowed = next(outcomes for start, outcomes in OUTCOMES.items() if row["expect"].startswith(start))
    outcome, asset = one.file.outcome, one.asset
    found = [Checked(row["file"], "outcome", "/".join(sorted(allowed)), outcome, outcome in allowed)]
    if outcome not in HAS_ASSET | {"sidecar"}:
        found.append(Checked(row["file"], "reason", "one", one.file.reason or NONE, bool(one.file.reason)))
    if asset is None:
        return found
    is_whole = row["expect"].startswith("ingest") and "pixels undecodable" not in row["expect"]
    statuses = {"ready"} if is_whole else {"ready", "undecodable"}
    found.append(Checked(row["file"], "status", "/".join(sorted(statuses)), asset.status, asset.status in statuses))
    if asset.status == "undecodable":
        found.append(Checked(row["file"], "reason", "one", asset.status_reason or NONE, bool(asset.status_reason)))
    if is_whole:
        found.append(_compared(row, "thumbnails", "[150, 300, 1024]", str(asset.thumbnails)))
    return found


def _fields(row: Row, asset: AssetDetail) -> list[Checked]:
    width, height = _shown(row)
    return [
        _compared(row, "mime type", row["mime"] or NONE, asset.mime_type),
        _compared(row, "size in bytes", row["bytes"], str(asset.size_bytes)),
        _compared(row, "width and height", f"{width} x {height}", f"{asset.width or NONE} x {asset.height or NONE}"),
        _compared(row, "orientation", _orientation(row), str(asset.orientation or NONE)),
        _number(row, "duration", row["duration_s"], asset.duration_s, within=DURATION_WITHIN_S),
        *_taken(row, asset),
        *_place(row, asset),
        _compared(row, "camera make", row["make"].strip() or NONE, asset.camera_make or NONE),
        _compared(row, "camera model", row["model"].strip() or NONE, asset.camera_model or NONE),
        _compared(row, "lens", row["lens"].strip() or NONE, asset.lens_model or NONE),
        _number(row, "ISO", row["iso"], asset.iso),
        _number(row, "f-number", row["fnumber"], asset.f_number),
        _number(row, "exposure", row["exposure"], asset.exposure_s),
        _number(row, "focal length", row["focal_mm"], asset.focal_length_mm),
        _compared(row, "content id", row["content_id"] or NONE, asset.content_id or NONE),
    ]


def _shown(row: Row) -> tuple[str, str]:
    """Return width and height as shown, of which the manifest says how they are stored."""
    width, height = row["width"] or NONE, row["height"] or NONE
    if row["rotation"] and row["kind"] == "video":
        is_turned = row["rotation"] in {"90", "270"}
    elif row["kind"] == "heic":
        is_turned = row["rotation"] in {"1", "3"}
    else:
        is_turned = row["kind"] not in OWN_TURN and row["orientation"] in {"5", "6", "7", "8"}
    return (height, width) if is_turned else (width, height)


def _orientation(row: Row) -> str:
    return row["orientation"] if row["orientation"] in set("12345678") else NONE


def _taken(row: Row, asset: AssetDetail) -> list[Checked]:
    if not row["taken"]:
        return [_compared(row, "taken from", "file", asset.taken_source)]
    wanted = dt.datetime.fromisoformat(row["taken"])
    local = asset.taken_at_local
    found = [
        _compared(row, "taken from", "capture", asset.taken_source),
        _compared(row, "taken, local", wanted.isoformat(), local.isoformat()),
    ]
    offset = local - asset.taken_at.astimezone(dt.UTC).replace(tzinfo=None)
    if row["taken_offset"]:
        zone = dt.datetime.fromisoformat(row["taken"] + row["taken_offset"]).utcoffset()
        found.append(_compared(row, "time zone", str(zone), str(offset)))
    sources = {"offset_tag", "utc"} if row["taken_offset"] else {"unknown", "gps"}
    source = asset.tz_source
    found.append(Checked(row["file"], "source of the zone", "/".join(sorted(sources)), source, source in sources))
    return found


def _place(row: Row, asset: AssetDetail) -> list[Checked]:
    """Compare latitude, longitude and altitude; 0, 0 is what devices write that know no place."""
    is_known = row["gps_lat"] != "" and not float(row["gps_lat"]) == float(row["gps_lon"]) == 0
    told = {"latitude": asset.latitude, "longitude": asset.longitude, "altitude": asset.altitude_m}
    names = {"latitude": "gps_lat", "longitude": "gps_lon", "altitude": "gps_alt"}
    return [_number(row, field, row[names[field]] if is_known else "", got) for field, got in told.items()]


def _compared(row: Row, field: str, expected: str, got: str) -> Checked:
    return Checked(row["file"], field, expected, got, expected == got)


def _number(row: Row, field: str, expected: str, got: float | None, *, within: float = NUMBERS_WITHIN) -> Checked:
    """Compare numbers; of several, as Nikon writes the sensitivity, the last counts."""
    text = expected.split()[-1] if expected else NONE
    if text == NONE or got is None:
        is_right = text == NONE and got is None
    else:
        is_right = math.isclose(float(text), got, rel_tol=NUMBERS_WITHIN, abs_tol=within)
    return Checked(row["file"], field, text, NONE if got is None else f"{got:.10g}", is_right)


def main() -> None:
    """Compare and report."""
    end_on_signals()
    parser = argparse.ArgumentParser(description="Compare the corpus with its manifest.")
    parser.add_argument(
        "--corpus", type=Path, default=CORPUS, metavar="FOLDER", help="where the files and manifest lie"
    )
    parser.add_argument("--short", action="store_true", help="the same: it is short")
    given = parser.parse_args()
    if not given.corpus.is_dir():
        print("the corpus is not at hand")
        print(json.dumps({"bench": "corpus", "files": 0}))
        return
    with measuring("corpus") as root:
        is_right = _run(root, given.corpus)
    if not is_right:
        sys.exit(1)


def _run(root: Path, corpus: Path) -> bool:
    copy(corpus, root / "library")
    with ingested(root / "daemon", root / "library", log_level="error") as (client, told):
        found = checked(corpus, seen(client, "bench"))
    known = reasons()
    problems = unexplained(found, known)
    explained = {(one.file, one.field, one.got): one.reason for one in known}
    print(f"{'field':20} {'expected':>8} {'right':>6} {'with a reason':>14} {'wrong':>6}")
    fields = dict[str, dict[str, int]]()
    for field in dict.fromkeys(one.field for one in found):
        of_field = [one for one in found if one.field == field]
        right = sum(one.is_right for one in of_field)
        excused = sum(not one.is_right and (one.file, one.field, one.got) in explained for one in of_field)
        wrong = len(of_field) - right - excused
        fields[field] = {"expected": len(of_field), "right": right, "with_reason": excused, "wrong": wrong}
        print(f"{field:20} {len(of_field):8} {right:6} {excused:14} {wrong:6}")
    differences = [one for one in found if not one.is_right]
    for one in differences:
        why = explained.get((one.file, one.field, one.got), "NO REASON")
        print(f"{one.file!r}: {one.field}: expected {one.expected}, got {one.got}: {why}")
    for problem in problems:
        print(f"WRONG: {problem}")
    result = {
        "bench": "corpus",
        "date": dt.datetime.now(dt.UTC).strftime("%Y-%m-%d"),
        "files": len(rows(corpus)),
        "checked": len(found),
        "right": len(found) - len(differences),
        "with_reason": len(differences) - sum(one["wrong"] for one in fields.values()),
        "wrong": problems,
        "fields": fields,
        "wall_s": round(told.wall_s, 1),
        "machine": {"cores": len(os.sched_getaffinity(0)), "cpu": cpu_name(), "python": platform.python_version()},
    }
    print(json.dumps(result), flush=True)
    return not problems


if __name__ == "__main__":
    main()
