-- name: today
SELECT (now() AT TIME ZONE 'UTC')::date

-- name: lock_partitions
SELECT pg_advisory_xact_lock(hashtext('job_history'))

-- name: wait_shortly
-- behind a lock that waits for a reader waits everybody else
SELECT set_config('lock_timeout', '2s', true)

-- name: partitions
SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent = 'job_history'::regclass AND c.relname ~ '^job_history_[0-9]{8}$'

-- name: partition_occupied
-- rows that came while no partition existed stay in the default one and forbid making that day's
SELECT 1 FROM job_history_other WHERE finished_at >= %(since)s::timestamptz AND finished_at < %(until)s::timestamptz
LIMIT 1

-- name: forget_other
DELETE FROM job_history_other WHERE finished_at < %(before)s::timestamptz
