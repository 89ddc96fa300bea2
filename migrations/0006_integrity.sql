-- Integrity: when each file was last read and compared, what was found wrong, and second copies of originals.

-- verified_at: read from the disk and found to be what its digest says. checked_at: looked at, whatever came of it.
-- Ingest reads a file whole when it writes its digest, so an older verified_at never claims too much.
ALTER TABLE file_records ADD COLUMN verified_at timestamptz, ADD COLUMN checked_at timestamptz;
CREATE INDEX file_records_to_check ON file_records ((coalesce(checked_at, '-infinity')), id)
    WHERE outcome IN ('asset', 'duplicate');

-- A second place for a repository's originals: a folder, or a URL that a backend understands. declared: the
-- repository's marker names it. introduced_at: since then its mark lies there, and without it the place is away.
CREATE TABLE mirrors (
    id            uuid PRIMARY KEY,
    repository_id uuid NOT NULL REFERENCES repositories ON DELETE CASCADE,
    location      text NOT NULL CHECK (location <> ''),
    options       jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(options) = 'object'),
    declared      boolean NOT NULL DEFAULT false,
    status        text NOT NULL DEFAULT 'online' CHECK (status IN ('online', 'degraded', 'offline')),
    status_reason text CHECK ((status = 'online') = (status_reason IS NULL)),
    introduced_at timestamptz,
    created_at    timestamptz NOT NULL DEFAULT now(),
    UNIQUE (repository_id, location)
);

-- A list of copies as it lies in the mirror; one that is not full is written anew with more.
CREATE TABLE mirror_manifests (
    id         uuid PRIMARY KEY,
    mirror_id  uuid NOT NULL REFERENCES mirrors ON DELETE CASCADE,
    entries    integer NOT NULL CHECK (entries > 0),
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX mirror_manifests_by_mirror ON mirror_manifests (mirror_id, id);

-- One row per copy that was read back and found good. Its path follows from its digest.
CREATE TABLE mirror_copies (
    mirror_id   uuid NOT NULL REFERENCES mirrors ON DELETE CASCADE,
    digest      bytea NOT NULL CHECK (octet_length(digest) = 32),
    size_bytes  bigint NOT NULL CHECK (size_bytes > 0),
    asset_id    uuid REFERENCES assets ON DELETE SET NULL,
    manifest_id uuid REFERENCES mirror_manifests ON DELETE SET NULL,
    stored_at   timestamptz NOT NULL DEFAULT now(),
    verified_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (mirror_id, digest)
);
CREATE INDEX mirror_copies_by_digest ON mirror_copies (digest);
CREATE INDEX mirror_copies_by_asset ON mirror_copies (asset_id) WHERE asset_id IS NOT NULL;
CREATE INDEX mirror_copies_to_check ON mirror_copies (mirror_id, verified_at, digest);
CREATE INDEX mirror_copies_by_manifest ON mirror_copies (mirror_id, manifest_id);

-- One pass of a job over files, or over the copies of a mirror; what it has read so far survives its job's death.
CREATE TABLE integrity_runs (
    id           uuid PRIMARY KEY,
    job_id       uuid NOT NULL,
    kind         text NOT NULL CHECK (kind IN ('scrub', 'verify')),
    mirror_id    uuid REFERENCES mirrors ON DELETE CASCADE,
    budget_bytes bigint CHECK (budget_bytes > 0),
    files        bigint NOT NULL DEFAULT 0,
    read_bytes   bigint NOT NULL DEFAULT 0,
    read_s       double precision NOT NULL DEFAULT 0,
    found        bigint NOT NULL DEFAULT 0,
    unstable     bigint NOT NULL DEFAULT 0,
    walked       boolean NOT NULL DEFAULT false,
    started_at   timestamptz NOT NULL DEFAULT now(),
    finished_at  timestamptz,
    CONSTRAINT integrity_runs_of_job UNIQUE NULLS NOT DISTINCT (job_id, mirror_id)
);
CREATE INDEX integrity_runs_by_time ON integrity_runs (started_at);

-- What is wrong, or was: of a file, or with mirror_id of a copy. digest is what was expected; size, time and
-- inode are of what was found, null when nothing was there.
CREATE TABLE findings (
    id            uuid PRIMARY KEY,
    kind          text NOT NULL CHECK (kind IN ('missing', 'changed', 'bit_rot', 'untracked', 'unreadable')),
    code          text NOT NULL CHECK (code <> ''),
    state         text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'healed', 'resolved', 'ignored')),
    repository_id uuid NOT NULL REFERENCES repositories ON DELETE CASCADE,
    mirror_id     uuid REFERENCES mirrors ON DELETE CASCADE,
    file_id       uuid REFERENCES file_records ON DELETE SET NULL,
    asset_id      uuid,
    path          bytea NOT NULL CHECK (octet_length(path) > 0),
    digest        bytea CHECK (octet_length(digest) = 32),
    size_bytes    bigint,
    mtime_ns      bigint,
    inode         bigint,
    detail        text NOT NULL,
    first_seen_at timestamptz NOT NULL DEFAULT now(),
    last_seen_at  timestamptz NOT NULL DEFAULT now(),
    closed_at     timestamptz,
    CHECK ((closed_at IS NULL) = (state IN ('open', 'ignored'))),
    CHECK ((digest IS NULL) = (kind = 'untracked')),
    CHECK (num_nonnulls(size_bytes, mtime_ns, inode) IN (0, 3))
);
CREATE UNIQUE INDEX findings_of_place ON findings (repository_id, mirror_id, path) NULLS NOT DISTINCT
    WHERE state IN ('open', 'ignored');
CREATE INDEX findings_by_file ON findings (file_id) WHERE file_id IS NOT NULL;
CREATE INDEX findings_by_mirror ON findings (mirror_id) WHERE mirror_id IS NOT NULL;

-- Open findings that still hold: the record is there and expects the same bytes, the orphan is still nobody's.
CREATE VIEW standing_findings AS
SELECT n.* FROM findings n
WHERE n.state = 'open' AND CASE
    WHEN n.mirror_id IS NOT NULL THEN true
    WHEN n.kind = 'untracked' THEN NOT EXISTS (SELECT 1 FROM file_records f
                                               WHERE f.repository_id = n.repository_id AND f.path = n.path)
    ELSE EXISTS (SELECT 1 FROM file_records f WHERE f.id = n.file_id AND f.digest = n.digest)
END;
