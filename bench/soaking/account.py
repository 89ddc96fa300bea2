"""The account: every acknowledged original is there once, nobody's file was changed, nothing lies about."""

import time
from http import HTTPStatus
from pathlib import Path

import blake3

from bench.soaking.lives import Life, LifeFailed
from bench.soaking.report import Report
from bench.soaking.wire import ask
from bench.soaking.world import NAME, Foreign, World
from lumiliod.client import ApiError, Client
from lumiliod.contract.integrity import VerifyRequest
from lumiliod.contract.jobs import JobSelection
from lumiliod.contract.trash import PurgeRequest

SETTLE_S = 600.0
LOOK_S = 0.1
HASTEN_S = 1.0
POISON = "poison"


def settle(client: Client, life: Life) -> None:
    """Wait until no job is open, and let none wait for its time.

    Raises:
        LifeFailed: the daemon ends, or the jobs do not.
    """
    give_up_at = time.monotonic() + SETTLE_S
    hasten_at = 0.0
    while time.monotonic() < give_up_at:
        now = client.status()
        if not now.open_jobs and not now.scans:
            return
        if life.ended(LOOK_S):
            raise LifeFailed(f"lumiliod ended{life.last_words()}")
        if time.monotonic() >= hasten_at:
            hasten_at = time.monotonic() + HASTEN_S
            for state in ("scheduled", "retryable"):
                client.change_jobs("retry", JobSelection(state=state))
    raise LifeFailed(f"the jobs are not done after {SETTLE_S:.0f} s: {client.status().jobs}")


def reconcile(client: Client, world: World, life: Life) -> None:
    """Let everything end, scan once, read everything again, and let that end.

    Jobs that two workers died of wait for a person, who retries them: here it was never the job.
    """
    settle(client, life)
    world.count("poison", client.change_jobs("retry", JobSelection(state="discarded", cause=POISON)).count)
    settle(client, life)
    client.scan(NAME)
    settle(client, life)
    client.integrity.verify(VerifyRequest(all=True))
    settle(client, life)


def account(client: Client, world: World, before: Foreign, report: Report) -> None:
    """Write down what is wrong."""
    _purge_again(client, world)
    where = _originals(client, world, report)
    # the answer was lost, and it was done
    world.purged |= world.purging - where.keys()
    # the job of its upload, or of a file that was found, had not ended: the same bytes bring it back
    came_back = world.purged & where.keys()
    world.purged -= came_back
    world.count("came_back", len(came_back))
    for digest in world.acknowledged - world.purged:
        count = len(where.get(digest, []))
        if count != 1:
            report.lost.append(f"an acknowledged original is there {count} times: {digest}")
    for digest in where:
        if len(where[digest]) > 1 and digest not in world.acknowledged:
            report.lost.append(f"an original is there {len(where[digest])} times: {digest}")
    now = world.foreign()
    report.changed += [f"a foreign file was changed: {path}" for path in before if now.get(path) != before[path]]
    report.changed += [f"a file in the user area is not the person's: {path}" for path in now.keys() - before.keys()]
    report.orphans += _orphans(client, world)
    last = _last_relayout_state(client)
    if last in {"running", "undoing"}:
        report.stuck.append(f"the re-layout is {last}, and no job is open")
    for finding in client.integrity.findings(state="open"):
        report.stuck.append(f"{finding.kind} ({finding.code}): {finding.path}: {finding.detail}")
    if not report.problems:
        _forget_uploads(client, world)


def _forget_uploads(client: Client, world: World) -> None:
    """Give up what is left of resumable uploads: nobody goes on with them, and every start would read them."""
    for terms in (world.folder / ".lumilio" / "staging" / "incoming").glob("*.upload.json"):
        place = f"/uploads/{terms.name.removesuffix('.upload.json')}"
        status, _ = ask(client.socket, "DELETE", place, {"Tus-Resumable": "1.0.0"})
        if status == HTTPStatus.CONFLICT:
            # complete, and its job has ended: what was said of it would stay for a day
            terms.unlink(missing_ok=True)


def _purge_again(client: Client, world: World) -> None:
    """Ask again for what was promised and then refused: the answer says so, and it is no loss."""
    refused = [item.asset_id for item in client.trash.all() if item.digest in world.purged and item.refused]
    if refused:
        world.count("purges_refused", len(refused))
        client.trash.purge(PurgeRequest(ids=refused))
        give_up_at = time.monotonic() + SETTLE_S
        while client.status().open_jobs and time.monotonic() < give_up_at:
            time.sleep(LOOK_S)


def _originals(client: Client, world: World, report: Report) -> dict[str, list[Path]]:
    where: dict[str, list[Path]] = {}
    for asset in client.all_assets():
        if asset.path is None:
            report.lost.append(f"{asset.id} has no original")
        else:
            where.setdefault(asset.digest, []).append(world.folder / asset.path)
    for item in client.trash.all():
        if item.state != "trashed":
            report.stuck.append(f"{item.asset_id} is {item.state}, and no job is open")
        for file in item.files:
            where.setdefault(item.digest, []).append(world.trashed(file.id))
        if not item.files and not item.hidden:
            report.lost.append(f"{item.asset_id} is in the trash without a file")
    for digest, paths in where.items():
        for path in paths:
            if not path.is_file() or blake3.blake3(path.read_bytes()).hexdigest() != digest:
                report.lost.append(f"{path}: gone, or its bytes have changed")
    return where


def _orphans(client: Client, world: World) -> list[str]:
    """Return files in our folders that nobody knows."""
    known = {file.path for file in client.files(NAME)}
    found = [
        path
        for path in (world.folder / "inbox").rglob("*")
        if path.is_file() and str(path.relative_to(world.folder)) not in known
    ]
    ours = world.folder / ".lumilio"
    for name in ("staging/incoming", "temp"):
        found += [path for path in (ours / name).rglob("*") if path.is_file() and ".upload" not in path.name]
    ids = {str(file.id) for item in client.trash.all() for file in item.files}
    found += [path for path in (ours / "trash").rglob("*") if path.is_file() and path.name[:36] not in ids]
    return [f"nobody knows {path}" for path in found]


def _last_relayout_state(client: Client) -> str:
    try:
        last = client.repos.last_relayout(NAME)
    except ApiError:
        return "none"
    return "halted" if last.halted else last.state
