-- Re-layouts: an inbox brought into another layout, every move on record before it is made; and repositories that are put away.

-- detached: a person put it away; its assets stay, nothing tries to reach it
ALTER TABLE repositories
    DROP CONSTRAINT repositories_status_check,
    DROP CONSTRAINT repositories_check,
    ADD CONSTRAINT repositories_status_check CHECK (status IN ('online', 'offline', 'detached')),
    ADD CONSTRAINT repositories_reason_check CHECK (status <> 'online' OR status_reason IS NULL);

-- job_id is the job that does it, or did; halted: that was cancelled, so it goes on only when a person wants it.
CREATE TABLE relayouts (
    id            uuid PRIMARY KEY,
    repository_id uuid NOT NULL REFERENCES repositories ON DELETE CASCADE,
    from_strategy text NOT NULL CHECK (from_strategy <> ''),
    to_strategy   text NOT NULL CHECK (to_strategy <> ''),
    state         text NOT NULL DEFAULT 'running' CHECK (state IN ('running', 'done', 'undoing', 'undone')),
    verify        boolean NOT NULL DEFAULT false,
    job_id        uuid NOT NULL,
    halted        boolean NOT NULL DEFAULT false,
    created_at    timestamptz NOT NULL DEFAULT now(),
    finished_at   timestamptz,
    CHECK ((finished_at IS NULL) = (state IN ('running', 'undoing')))
);
CREATE UNIQUE INDEX relayouts_one_open ON relayouts (repository_id) WHERE state IN ('running', 'undoing');
CREATE INDEX relayouts_by_repository ON relayouts (repository_id, id DESC);

-- One row per file that is to move. wanted is what the layout says, to_path the free name beside that, where it is
-- planned to go and once moved lies. merged: its bytes lay at to_path already, and that file was kept. A sidecar has an
-- owner, the record of the original it is named after, and no bytes on record. A record may go (no foreign key).
CREATE TABLE relayout_moves (
    relayout_id uuid NOT NULL REFERENCES relayouts ON DELETE CASCADE,
    seq         integer NOT NULL CHECK (seq > 0),
    record_id   uuid NOT NULL,
    owner_id    uuid,
    asset_id    uuid,
    digest      bytea CHECK (octet_length(digest) = 32),
    from_path   bytea NOT NULL CHECK (octet_length(from_path) > 0),
    to_path     bytea NOT NULL CHECK (octet_length(to_path) > 0 AND to_path <> from_path),
    wanted      bytea NOT NULL CHECK (octet_length(wanted) > 0),
    state       text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'done', 'undone', 'skipped')),
    merged      boolean NOT NULL DEFAULT false,
    reason      text,
    moved_at    timestamptz,
    PRIMARY KEY (relayout_id, seq),
    CHECK ((asset_id IS NULL) = (digest IS NULL)),
    CHECK ((asset_id IS NULL) = (owner_id IS NOT NULL)),
    CHECK (state <> 'skipped' OR reason IS NOT NULL)
);
CREATE UNIQUE INDEX relayout_moves_by_record ON relayout_moves (relayout_id, record_id);
CREATE INDEX relayout_moves_pending ON relayout_moves (relayout_id, seq) WHERE state = 'pending';
