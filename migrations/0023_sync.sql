-- Every run says why it ran and what it covered; what is missing in numbers that nobody believes is kept until a
-- person decides; and what a scan would do can be told without doing it.

ALTER TABLE sync_operations RENAME COLUMN type TO scope;
ALTER TABLE sync_operations
    DROP CONSTRAINT sync_operations_type_check,
    DROP CONSTRAINT sync_operations_status_check,
    ADD COLUMN type   text,
    ADD COLUMN folder bytea NOT NULL DEFAULT '',
    ADD COLUMN moved  bigint NOT NULL DEFAULT 0,
    ADD COLUMN note   text,
    ADD COLUMN job_id uuid;
-- until now only the watcher asked for folders
UPDATE sync_operations SET type = CASE scope WHEN 'folder' THEN 'realtime' ELSE 'reconciliation' END;
ALTER TABLE sync_operations
    ALTER COLUMN type SET NOT NULL,
    ADD CONSTRAINT sync_operations_type_check CHECK (type IN ('realtime', 'reconciliation', 'startup', 'manual')),
    ADD CONSTRAINT sync_operations_scope_check CHECK (scope IN ('full', 'folder', 'files')),
    ADD CONSTRAINT sync_operations_status_check CHECK (status IN ('running', 'completed', 'failed', 'held')),
    ADD CONSTRAINT sync_operations_folder_check CHECK (scope <> 'full' OR folder = '');

-- The deletions of a repository that a person is asked about. plan_id is another whenever there is more to decide;
-- known is how many files there were when that was so, and basis the fewest there were while it is held: what comes
-- besides makes what is missing no smaller a share. An approval is for scans that begin after approved_at_generation.
CREATE TABLE held_deletions (
    repository_id          uuid PRIMARY KEY REFERENCES repositories ON DELETE CASCADE,
    plan_id                uuid NOT NULL,
    state                  text NOT NULL CHECK (state IN ('held', 'approved', 'rejected')),
    files                  bigint NOT NULL CHECK (files > 0),
    known                  bigint NOT NULL,
    basis                  bigint NOT NULL,
    since                  timestamptz NOT NULL DEFAULT now(),
    decided_at             timestamptz CHECK ((decided_at IS NULL) = (state = 'held')),
    approved_at_generation bigint CHECK ((approved_at_generation IS NOT NULL) = (state = 'approved'))
);

-- Which files that are: what was decided about is these and no others. Without a foreign key, which would be looked up
-- for every file: what belongs to nothing that is held is removed before anything else is.
CREATE TABLE held_files (
    repository_id uuid NOT NULL,
    file_id       uuid NOT NULL,
    PRIMARY KEY (repository_id, file_id)
);

-- What a scan would do: the last such plan of each repository, worth nothing once the server has died.
CREATE UNLOGGED TABLE sync_plans (
    id            uuid PRIMARY KEY,
    repository_id uuid NOT NULL REFERENCES repositories ON DELETE CASCADE,
    scope         text NOT NULL CHECK (scope IN ('full', 'folder', 'files')),
    folder        bytea NOT NULL,
    found         bigint NOT NULL DEFAULT 0,
    ignored       bigint NOT NULL DEFAULT 0,
    added         bigint NOT NULL DEFAULT 0,
    updated       bigint NOT NULL DEFAULT 0,
    moved         bigint NOT NULL DEFAULT 0,
    returned      bigint NOT NULL DEFAULT 0,
    retired       bigint NOT NULL DEFAULT 0,
    would_hold    boolean NOT NULL DEFAULT false,
    note          text,
    started_at    timestamptz NOT NULL DEFAULT now(),
    finished_at   timestamptz
);
CREATE INDEX sync_plans_by_repository ON sync_plans (repository_id);

-- What has no plan is left over and removed with the next one: a foreign key would be looked up for every file.
CREATE UNLOGGED TABLE sync_plan_entries (
    plan_id    uuid NOT NULL,
    path       bytea NOT NULL,
    action     text NOT NULL CHECK (action IN ('added', 'updated', 'moved', 'returned', 'retired')),
    from_path  bytea CHECK ((from_path IS NOT NULL) = (action = 'moved')),
    file_id    uuid,
    size_bytes bigint NOT NULL,
    mtime_ns   bigint NOT NULL,
    inode      bigint NOT NULL,
    PRIMARY KEY (plan_id, path)
);
CREATE INDEX sync_plan_entries_moved ON sync_plan_entries (plan_id, file_id) WHERE action = 'moved';
