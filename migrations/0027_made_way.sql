-- Where a plan says of a record that it is: it may have made way more than once.
DROP INDEX sync_plan_entries_moved;
CREATE INDEX sync_plan_entries_files ON sync_plan_entries (plan_id, file_id) WHERE file_id IS NOT NULL;
