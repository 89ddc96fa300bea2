"""Run the daemon on a sample library and show what becomes of every file; then remove everything.

Exit status 0 means that every file reached the outcome it should.
"""

import contextlib
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from lumiliod.client import ApiError, Client, ClientError
from lumiliod.contract.assets import Asset
from lumiliod.contract.repositories import NewRepository
from lumiliod.contract.status import Status
from scripts.daemon_process import DaemonFailed, end_on_signals, running, temporary_folder, without_signals
from scripts.sample_library import Library, build, fetch, packages

SEARCH = "architecture rating:>=4"
SEARCH_WITHOUT_EXIFTOOL = "type:photo after:2016 before:2019"
LIMIT_S = 300.0

CONFIG = """\
[storage]
min_free_mb = 16
[log]
level = "info"
format = "text"
"""

Report = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class End:
    """What became of one file: an outcome, or its asset's status; and why."""

    word: str
    reason: str | None = None
    asset: Asset | None = None


def main() -> None:
    """Show the demonstration."""
    end_on_signals()
    console = Console(soft_wrap=not sys.stdout.isatty(), highlight=False)
    root = temporary_folder("demo")
    status = 1
    try:
        status = _demonstrate(console, root)
    except (DaemonFailed, RuntimeError, ClientError) as error:
        console.print(f"demo: {error}", style="red", markup=False)
    except KeyboardInterrupt:
        console.print("demo: interrupted; everything it made is removed")
        status = 130
    finally:
        without_signals()
        shutil.rmtree(root, ignore_errors=True)
    sys.exit(status)


def _demonstrate(console: Console, root: Path) -> int:
    console.print("Lumilio: one daemon, a throw-away library, real photographs.\n", style="bold")
    library = build(root / "sample", packages(fetch()))
    config = root / "lumiliod.toml"
    config.write_text(CONFIG)
    photos = sum(sample.type == "photo" for sample in library.samples)
    console.print(f"Sample library: {len(library.samples)} files, {photos} photographs among them.")
    began = time.monotonic()
    scratch = root / "tmp"
    scratch.mkdir()
    with running(root / "state", config=config, log=root / "lumiliod.log", scratch=scratch) as daemon:
        console.print(f"The daemon and its database were ready after {time.monotonic() - began:.1f} s.")
        with Client(str(daemon.socket)) as client:
            services = client.health().services
            for service in services:
                if service.state != "ready":
                    console.print(f"{service.state}: {service.name}: {service.reason}", style="yellow", markup=False)
            began = time.monotonic()
            ends = _ingest(console, client, library, daemon.check)
            took_s = time.monotonic() - began
            problems = _unexpected(library, ends)
            _show(console, library, client.status(), ends, took_s)
            degraded = any(service.name == "exiftool" for service in services)
            _show_search(console, client, SEARCH_WITHOUT_EXIFTOOL if degraded else SEARCH)
        stopped = daemon.stop()
        if left := [entry.name for entry in scratch.iterdir()]:
            problems.append(f"the daemon left {', '.join(left)} in its temporary folder")
    if stopped:
        problems.append(f"the daemon ended with status {stopped}")
    console.print("\nThe daemon has stopped in order; its library and state are removed.")
    if problems:
        console.print("\nNot as it should be:", style="bold red")
        for problem in problems:
            console.print(f"  {problem}", markup=False)
        return 1
    console.print(f"All {len(library.samples)} files ended as they should.\n", style="green")
    console.print("Go on with your own:  [bold]make run PHOTOS=~/Pictures[/bold]")
    return 0


def _ingest(console: Console, client: Client, library: Library, check: Callable[[], None]) -> dict[Path, End]:
    """Upload, scan and wait; return what became of every file."""
    client.add_repository(NewRepository(path=str(library.folder), name="sample"))
    tickets, refused = {}, {}
    for sample in library.uploaded():
        try:
            tickets[sample.path] = client.upload(str(sample.path), repository="sample")
        except ApiError as error:
            refused[sample.path] = End(error.problem.code, error.problem.detail)
    client.scan("sample")
    with _progress(console, "Ingesting and understanding") as report:
        _wait(client, check, report)
    assets = {asset.id: asset for asset in client.all_assets()}
    ends = refused | {
        library.folder / file.path: _end(file.outcome, file.reason, file.asset_id, assets)
        for file in client.files("sample")
    }
    for path, ticket in tickets.items():
        job = client.task(ticket.task_id)
        told = job.result or {}
        if job.state == "completed":
            asset_id = UUID(str(told["asset_id"])) if told.get("asset_id") else job.asset_id
            ends[path] = _end(str(told.get("outcome", "asset")), None, asset_id, assets)
        else:
            ends[path] = End(job.errors[-1].code, job.errors[-1].message) if job.errors else End(job.state)
    return ends


def _end(outcome: str, reason: str | None, asset_id: UUID | None, assets: dict[UUID, Asset]) -> End:
    if outcome != "asset" or asset_id is None:
        return End(outcome, reason)
    asset = assets[asset_id]
    return End(asset.status, asset.status_reason, asset)


def _wait(client: Client, check: Callable[[], None], report: Report) -> None:
    give_up_at = time.monotonic() + LIMIT_S
    while time.monotonic() < give_up_at:
        check()
        now = client.status()
        done = sum(stage.completed for stage in now.stages) + now.discarded_jobs
        report(done, done + now.open_jobs)
        if not now.open_jobs and not now.scans:
            return
        time.sleep(0.1)
    raise DaemonFailed(f"the jobs are not done after {LIMIT_S:.0f} s")


@contextlib.contextmanager
def _progress(console: Console, what: str) -> Iterator[Report]:
    """Give a function that shows ``done`` of ``total`` jobs: a bar in a terminal, else a line every two seconds."""
    if console.is_terminal:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=console) as bar:
            task = bar.add_task(what, total=None)
            yield lambda done, total: bar.update(task, completed=done, total=total)
        return
    shown_at = 0.0

    def line(done: int, total: int) -> None:
        nonlocal shown_at
        if time.monotonic() - shown_at >= 2 or done == total:
            shown_at = time.monotonic()
            console.print(f"{what}: {done} of {total} jobs")

    yield line


def _unexpected(library: Library, ends: dict[Path, End]) -> list[str]:
    """Return what is not as it should be, for people."""
    problems = []
    for sample in library.samples:
        end = ends.get(sample.path, End("not seen"))
        name = sample.path.relative_to(library.folder.parent)
        if end.word not in sample.ends:
            wanted = " or ".join(sorted(sample.ends))
            problems.append(f"{name}: {end.word} ({end.reason or 'no reason'}) instead of {wanted}")
        elif sample.twin and {end.word, ends.get(sample.twin, End("not seen")).word} != {"ready", "duplicate"}:
            problems.append(f"{name}: {end.word}, and so is {sample.twin.name}")
        elif end.asset is not None and end.asset.type != sample.type:
            problems.append(f"{name}: a {end.asset.type} instead of a {sample.type}")
        elif end.word == "ready" and sample.type == "photo" and end.asset and end.asset.thumbnails != [150, 300, 1024]:
            problems.append(f"{name}: thumbnails {end.asset.thumbnails}")
    return problems


def _show(console: Console, library: Library, status: Status, ends: dict[Path, End], took_s: float) -> None:
    console.print()
    kinds = Table("Assets", "Count", title="What is in the library", title_justify="left")
    for kind, count in status.assets.items():
        kinds.add_row(kind, str(count))
    console.print(kinds)
    stages = Table(
        "Stage",
        "Jobs",
        "Mean",
        "Total",
        title="Time per stage",
        title_justify="left",
        caption="Wall time inside the jobs, which share the cores.",
    )
    for stage in status.stages:
        stages.add_row(stage.kind, str(stage.completed), f"{stage.mean_ms:.0f} ms", f"{stage.total_s:.2f} s")
    console.print(stages)
    photos = status.assets.get("photo", 0)
    console.print(f"{photos} photographs in {took_s:.1f} s: {photos / took_s * 60:.0f} a minute.\n")
    # of each file once: what was uploaded lies in the inbox, too
    counts = Counter(ends.get(sample.path, End("not seen")).word for sample in library.samples)
    console.print("Outcomes: " + ", ".join(f"{count} {word}" for word, count in counts.most_common()))
    odd = Table("File", "Outcome", "Reason", title="The odd files", title_justify="left")
    for sample in library.samples:
        end = ends.get(sample.path, End("not seen"))
        if end.word != "ready" or sample.path.parent.name == "Odd":
            odd.add_row(escape(sample.path.name), end.word, escape(end.reason or sample.about))
    console.print(odd)


def _show_search(console: Console, client: Client, query: str) -> None:
    page = client.search(query, limit=5)
    console.print(f"\nSearch [bold]{query}[/bold]: {page.total} found, the newest first")
    for asset in page.items:
        place = f"{asset.latitude:.2f}, {asset.longitude:.2f}" if asset.latitude and asset.longitude else "no place"
        taken = asset.taken_at_local.strftime("%Y-%m-%d %H:%M")
        console.print(f"  {taken}  {asset.camera_model}  {place}  {asset.path}", markup=False)


if __name__ == "__main__":
    main()
