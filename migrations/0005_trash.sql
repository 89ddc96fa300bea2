-- The trash: what a person removed keeps all it had, and its bytes, until it is purged.

-- A file of the user area whose asset is in the trash stays where it is, and is in the library no more.
ALTER TABLE file_records
    DROP CONSTRAINT file_records_outcome_check,
    ADD CONSTRAINT file_records_outcome_check
        CHECK (outcome IN ('pending', 'asset', 'duplicate', 'trashed', 'sidecar', 'ignored', 'unsupported', 'corrupt',
                           'too_large', 'unreadable')),
    ADD CONSTRAINT file_records_trashed_check
        CHECK (outcome <> 'trashed' OR (asset_id IS NOT NULL AND digest IS NOT NULL));

-- One row per asset in the trash, beside assets.deleted_at.
--   retiring    its files are on their way from their places into .lumilio/trash
--   trashed     at rest
--   restoring   its files are on their way back
--   purging     to be verified, then removed
--   doomed      verified: it is removed now, and nothing brings it back
-- Only retiring and restoring move files, and one becomes the other by way of 'trashed' alone: whoever wants an
-- asset back that is retiring says so in restore_wanted. refused tells why the last restoring or purging was not done.
CREATE TABLE trash (
    asset_id       uuid PRIMARY KEY REFERENCES assets,
    state          text NOT NULL CHECK (state IN ('retiring', 'trashed', 'restoring', 'purging', 'doomed')),
    why            text NOT NULL CHECK (why IN ('removed', 'replaced', 'no_file')),
    deleted_at     timestamptz NOT NULL,
    deleted_by     uuid REFERENCES users ON DELETE SET NULL,
    restore_wanted boolean NOT NULL DEFAULT false CHECK (state = 'retiring' OR NOT restore_wanted),
    refused        text CHECK (refused <> ''),
    refused_at     timestamptz,
    CHECK ((refused IS NULL) = (refused_at IS NULL))
);
CREATE INDEX trash_by_age ON trash (deleted_at, asset_id);
CREATE INDEX trash_in_motion ON trash (asset_id) WHERE state <> 'trashed';

-- What lies, or is to lie, in .lumilio/trash/<id> of its repository: where it was, and its state there. The
-- bytes are those of its asset.
CREATE TABLE trash_files (
    id            uuid PRIMARY KEY,
    asset_id      uuid NOT NULL REFERENCES trash ON DELETE CASCADE,
    repository_id uuid NOT NULL REFERENCES repositories ON DELETE CASCADE,
    path          bytea NOT NULL CHECK (octet_length(path) > 0),
    size_bytes    bigint NOT NULL CHECK (size_bytes >= 0),
    mtime_ns      bigint NOT NULL,
    inode         bigint NOT NULL,
    was_original  boolean NOT NULL
);
CREATE INDEX trash_files_by_asset ON trash_files (asset_id);
CREATE INDEX trash_files_by_place ON trash_files (repository_id, path);

-- until now an asset was deleted when no file held its bytes any more
INSERT INTO trash (asset_id, state, why, deleted_at)
SELECT id, 'trashed', 'no_file', deleted_at FROM assets WHERE deleted_at IS NOT NULL;
