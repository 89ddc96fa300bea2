"""The kinds of job there are and how to ask for them."""

from collections.abc import Collection, Sequence
from hashlib import sha256
from uuid import UUID

from lumiliod.db import assets, derivatives, files, mirrors, relayout, sync, trash
from lumiliod.db import jobs as db_jobs
from lumiliod.db.pool import Connection
from lumiliod.domain.derivatives import PHOTO_WEB
from lumiliod.domain.ids import AssetId, JobId, RepoPath, RepositoryId, UserId, path_bytes
from lumiliod.domain.jobs import PRIORITY_IDLE, PRIORITY_LOW, NewJob, OnConflict
from lumiliod.domain.media import AssetType
from lumiliod.domain.sync import Part, SyncType, covers, quoted
from lumiliod.jobs.kind import JobSpec
from lumiliod.storage.staging import Staged

INGEST = JobSpec("ingest", "ingest")
METADATA = JobSpec("metadata", "media")
THUMBNAILS = JobSpec("thumbnails", "media")
TRANSCODE = JobSpec("transcode", "transcode", max_attempts=3)
DEVELOP = JobSpec("develop", "develop", max_attempts=3)
SCAN = JobSpec("scan", "maintenance", max_attempts=3)
PLAN = JobSpec("plan", "maintenance", max_attempts=3)
RETIRE = JobSpec("retire", "ingest")
PURGE = JobSpec("purge", "maintenance", max_attempts=3)
SCRUB = JobSpec("scrub", "integrity", max_attempts=3, priority=PRIORITY_IDLE)
VERIFY = JobSpec("verify", "integrity", max_attempts=3)
MIRROR = JobSpec("mirror", "integrity", priority=PRIORITY_LOW)
HEAL = JobSpec("heal", "integrity")
RELAYOUT = JobSpec("relayout", "maintenance")
PRUNE = JobSpec("prune", "maintenance", max_attempts=3)

BACKFILL_PAGE = 1000


def ingest_upload(
    staged: Staged, repository_id: RepositoryId, owner_id: UserId, *, counts: bool = True, may_be_done: bool = False
) -> NewJob:
    """Make the job that turns a staged upload into an asset.

    Args:
        staged: the upload.
        repository_id: where it is.
        owner_id: whose it will be, unless the upload says that itself.
        counts: whether its bytes count against what its owner may keep, as long as the job is open.
        may_be_done: whether bytes that are gone are no failure.
    """
    args: dict[str, str | int] = {
        "upload": str(staged.id),
        "repository": str(repository_id),
        "filename": staged.filename,
        "digest": staged.digest,
        "owner": str(staged.owner_id or owner_id),
        "size_bytes": staged.size_bytes if counts else 0,
    }
    if may_be_done:
        args["may_be_done"] = "yes"
    return INGEST.new(args, unique_key=upload_key(staged.id), repository_id=repository_id)


def upload_key(upload_id: UUID) -> str:
    """Return the unique key of an upload's job."""
    return f"upload:{upload_id}"


def ingest_file(record_id: UUID, repository_id: RepositoryId) -> NewJob:
    """Make the job that looks at a file where it lies; a person's upload goes first."""
    args = {"file": str(record_id), "repository": str(repository_id)}
    return INGEST.new(args, unique_key=f"file:{record_id}", priority=PRIORITY_LOW, repository_id=repository_id)


def understand(asset_id: AssetId, repository_id: RepositoryId, priority: int) -> list[NewJob]:
    """Make the jobs that follow once an asset exists; as urgent as what made it."""
    return [about(spec, asset_id, repository_id, priority) for spec in (METADATA, THUMBNAILS, TRANSCODE)]


def scan(repository_id: RepositoryId, why: SyncType = SyncType.MANUAL) -> NewJob:
    """Make the job that compares a repository's folders with its file records; one that is open already does."""
    args = {"repository": str(repository_id), "why": why}
    return SCAN.new(args, unique_key=f"repository:{repository_id}", repository_id=repository_id)


def scan_again(repository_id: RepositoryId, why: SyncType = SyncType.MANUAL) -> NewJob:
    """Make the scan that is wanted from now on; one that runs may have passed what is new.

    One that waits does it, and says of itself why it was asked for first.
    """
    return scan(repository_id, why)._replace(on_conflict=OnConflict.RESCHEDULE)


def scan_folder(
    repository_id: RepositoryId, folder: RepoPath, *, deep: bool = True, why: SyncType = SyncType.MANUAL
) -> NewJob:
    """Make the scan of a folder, or of the files in it alone; one that waits already does, one that runs may not."""
    args = {"repository": str(repository_id), "folder": quoted(folder), "deep": deep, "why": why}
    key, how = _of_folder(repository_id, folder, deep), OnConflict.RESCHEDULE
    return SCAN.new(args, unique_key=key, on_conflict=how, repository_id=repository_id)


def scan_folders(repository_id: RepositoryId, folders: Sequence[Part], why: SyncType) -> NewJob:
    """Make one scan of several folders: what moved from one to another is seen at once."""
    if len(folders) == 1:
        folder, deep = folders[0]
        return scan_folder(repository_id, folder, deep=deep, why=why)
    _, shared = covers(folders)
    wanted = [(quoted(folder), deep) for folder, deep in folders]
    args = {"repository": str(repository_id), "folder": quoted(shared), "folders": wanted, "why": why}
    key = f"folders:{repository_id}:{sha256(repr(wanted).encode()).hexdigest()}"
    return SCAN.new(args, unique_key=key, on_conflict=OnConflict.RESCHEDULE, repository_id=repository_id)


def plan(repository_id: RepositoryId, folder: RepoPath) -> NewJob:
    """Make the job that tells what a scan of a folder, or of everything, would do; nothing is done."""
    args = {"repository": str(repository_id), "folder": quoted(folder)}
    key, how = _of_folder(repository_id, folder, deep=True), OnConflict.RESCHEDULE
    return PLAN.new(args, unique_key=key, on_conflict=how, repository_id=repository_id)


def _of_folder(repository_id: RepositoryId, folder: RepoPath, deep: bool) -> str:
    return f"folder:{repository_id}:{'deep' if deep else 'flat'}:{sha256(path_bytes(folder)).hexdigest()}"


def retire(asset_id: AssetId, repository_id: RepositoryId | None) -> NewJob:
    """Make the job that moves the files of an asset into the trash, or back."""
    args = {"asset": str(asset_id)}
    return RETIRE.new(args, unique_key=str(asset_id), asset_id=asset_id, repository_id=repository_id)


def purge(older_s: float | None = None) -> NewJob:
    """Make the job that purges what people asked for, and what has been in the trash for so many seconds."""
    args = {} if older_s is None else {"older_s": older_s}
    # one that waits does this one's work, too; one that runs may have passed it
    return PURGE.new(args, unique_key="trash", on_conflict=OnConflict.RESCHEDULE)


def missing_retire(conn: Connection, after: UUID) -> tuple[list[NewJob], UUID | None]:
    """Return a page of the jobs for assets whose files are on their way and that no job moves."""
    found = trash.moving_without_job(conn, after, BACKFILL_PAGE)
    return [retire(*asset) for asset in found], found[-1][0] if found else None


def missing_purge(conn: Connection, _after: UUID) -> tuple[list[NewJob], UUID | None]:
    """Return the job for what is to be purged, when there is none."""
    return [purge()] if trash.purge_without_job(conn) else [], None


def prune() -> NewJob:
    """Make the job that removes derivatives nobody needs; one that runs may have passed what is new."""
    return PRUNE.new({}, unique_key="derivatives", on_conflict=OnConflict.REPLACE)


def scrub() -> NewJob:
    """Make the job that reads a slice of everything again."""
    return SCRUB.new({}, unique_key="scrub")


def verify(repository_id: RepositoryId | None = None, asset_id: AssetId | None = None) -> NewJob:
    """Make the job that reads an asset, a repository or everything now; one that runs may have passed what is new."""
    wanted = {"repository": repository_id, "asset": asset_id}
    args = {name: str(one) for name, one in wanted.items() if one is not None}
    key = " ".join(args.values()) or "all"
    how = OnConflict.REPLACE
    return VERIFY.new(args, unique_key=key, on_conflict=how, repository_id=repository_id, asset_id=asset_id)


def mirror(mirror_id: UUID, repository_id: RepositoryId) -> NewJob:
    """Make the job that brings a mirror up to date; one that runs may have passed what is new."""
    key, how = f"mirror:{mirror_id}", OnConflict.REPLACE
    return MIRROR.new({"mirror": str(mirror_id)}, unique_key=key, on_conflict=how, repository_id=repository_id)


def mirrors_of(conn: Connection, repository_id: RepositoryId) -> list[NewJob]:
    """Make the jobs that bring the mirrors of a repository up to date."""
    return [mirror(mirror_id, repository_id) for mirror_id in mirrors.of_repository(conn, repository_id)]


def heal(finding_id: UUID, repository_id: RepositoryId) -> NewJob:
    """Make the job that heals what was found."""
    return HEAL.new({"finding": str(finding_id)}, unique_key=str(finding_id), repository_id=repository_id)


def rearrange(relayout_id: UUID, repository_id: RepositoryId) -> NewJob:
    """Make the job that does a re-layout, or undoes it: its row says which."""
    args = {"relayout": str(relayout_id)}
    return RELAYOUT.new(args, unique_key=str(repository_id), repository_id=repository_id)


def missing_relayouts(conn: Connection, after: UUID) -> tuple[list[NewJob], UUID | None]:
    """Return a page of the jobs for re-layouts that are not at their end and that nobody has cancelled."""
    relayout.halt(conn)
    found = relayout.without_job(conn, after, BACKFILL_PAGE)
    jobs = [rearrange(*one) for one in found]
    for (relayout_id, _), job in zip(found, jobs, strict=True):
        relayout.set_job(conn, relayout_id, job.id)
    return jobs, found[-1][0] if found else None


def missing_mirrors(conn: Connection, after: UUID) -> tuple[list[NewJob], UUID | None]:
    """Return a page of the jobs for mirrors that lack an original and that no job fills."""
    found = mirrors.behind(conn, after, BACKFILL_PAGE)
    return [mirror(*one) for one in found], found[-1][0] if found else None


def missing_ingest(conn: Connection, after: UUID) -> tuple[list[NewJob], UUID | None]:
    """Return a page of the jobs for files that wait to be ingested and have none."""
    found = files.pending_without_job(conn, after, BACKFILL_PAGE)
    return [ingest_file(*file) for file in found], found[-1][0] if found else None


def missing_scans(conn: Connection, after: UUID) -> tuple[list[NewJob], UUID | None]:
    """Return a page of the jobs for repositories whose last scan did not end, or that had none."""
    found = sync.unscanned(conn, after, BACKFILL_PAGE)
    return [scan(one, SyncType.STARTUP) for one in found], found[-1] if found else None


def missing_thumbnails(conn: Connection, after: UUID) -> tuple[list[NewJob], UUID | None]:
    """Return a page of the jobs for assets without pictures, or with such as were made by another recipe."""
    found = assets.without_thumbnails(conn, after, BACKFILL_PAGE)
    return [about(THUMBNAILS, *asset) for asset in found], found[-1][0] if found else None


def missing_transcodes(types: Collection[AssetType], conn: Connection, after: UUID) -> tuple[list[NewJob], UUID | None]:
    """Return a page of the jobs for assets of ``types`` without a version for the web by today's recipe."""
    found = assets.without_web_version(conn, types, after, BACKFILL_PAGE)
    return [about(TRANSCODE, *asset) for asset in found], found[-1][0] if found else None


def missing_developments(conn: Connection, after: UUID) -> tuple[list[NewJob], UUID | None]:
    """Return a page of the jobs for photographs that somebody wanted in full size and another recipe made."""
    found = derivatives.outdated(conn, PHOTO_WEB, DEVELOP.kind, after, BACKFILL_PAGE)
    return [about(DEVELOP, *asset) for asset in found], found[-1][0] if found else None


def missing_metadata(conn: Connection, after: UUID) -> tuple[list[NewJob], UUID | None]:
    """Return a page of the jobs for assets whose metadata was not read."""
    found = assets.without_metadata(conn, after, BACKFILL_PAGE)
    return [about(METADATA, *asset) for asset in found], found[-1][0] if found else None


def enqueue_one(conn: Connection, job: NewJob) -> JobId:
    """Enqueue a job and return its id, or that of the open one with its unique key, which does its work.

    One that runs is the answer only where the job's ``on_conflict`` is to keep it.
    """
    if job.id in db_jobs.enqueue(conn, [job]):
        return job.id
    existing = db_jobs.open_by_key(conn, job.kind, job.unique_key or "")
    return existing if existing is not None else enqueue_one(conn, job)


def about(spec: JobSpec, asset_id: AssetId, repository_id: RepositoryId, priority: int = PRIORITY_LOW) -> NewJob:
    """Make a job of ``spec`` about one asset."""
    args = {"asset": str(asset_id)}
    key = str(asset_id)
    return spec.new(args, unique_key=key, priority=priority, asset_id=asset_id, repository_id=repository_id)
