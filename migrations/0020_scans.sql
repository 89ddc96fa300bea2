-- Scans compare whole stretches of a repository with the disk, and write only where the two differ.

-- The inode's time of change: contents may change with size and mtime kept. NULL: not known yet, the next scan notes it.
ALTER TABLE file_records ADD COLUMN ctime_ns bigint;

-- What a scan under way has not met: its memory, worth nothing once it has ended or its server has died.
-- A record that was written since (updated_at) is no longer what was not met.
CREATE UNLOGGED TABLE scan_absences (
    repository_id uuid NOT NULL,
    generation    bigint NOT NULL,
    file_id       uuid NOT NULL,
    updated_at    timestamptz NOT NULL,
    PRIMARY KEY (repository_id, generation, file_id)
);
