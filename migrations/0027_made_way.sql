-- Plans: where a record is that made way, and whether something lies there; it may make way more than once.

ALTER TABLE sync_plan_entries ADD COLUMN is_taken boolean NOT NULL DEFAULT false;
DROP INDEX sync_plan_entries_moved;
CREATE INDEX sync_plan_entries_files ON sync_plan_entries (plan_id, file_id) WHERE file_id IS NOT NULL;

-- Whether bytes were an asset's until a moment ago is asked for each new file.
CREATE INDEX asset_versions_by_digest ON asset_versions (digest);
