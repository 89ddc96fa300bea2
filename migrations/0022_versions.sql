-- A file that somebody wrote over in place stays the same asset: what it was is remembered.

CREATE TABLE asset_versions (
    asset_id    uuid NOT NULL REFERENCES assets ON DELETE CASCADE,
    number      integer NOT NULL CHECK (number > 0),
    digest      bytea NOT NULL CHECK (octet_length(digest) = 32),
    size_bytes  bigint NOT NULL CHECK (size_bytes > 0),
    mime_type   text NOT NULL,
    taken_at    timestamptz NOT NULL,
    added_at    timestamptz NOT NULL,
    replaced_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (asset_id, number)
);

-- What is missing is little, and asked for at the end of a scan.
CREATE INDEX file_records_missing ON file_records (repository_id) WHERE missing_since IS NOT NULL;
