-- name: enqueue
-- many at once, each row a JSON object; a unique key that is already open keeps the open job
INSERT INTO jobs (id, kind, queue, state, priority, max_attempts, args, unique_key, scheduled_at,
                  asset_id, repository_id, parent_id)
SELECT j.id, j.kind, j.queue,
       CASE WHEN j.scheduled_at > now() THEN 'scheduled' ELSE 'available' END,
       j.priority, j.max_attempts, j.args, j.unique_key, coalesce(j.scheduled_at, now()),
       j.asset_id, j.repository_id, j.parent_id
FROM jsonb_to_recordset(%(jobs)s::jsonb) AS j (
    id uuid, kind text, queue text, priority smallint, max_attempts smallint, args jsonb, unique_key text,
    scheduled_at timestamptz, asset_id uuid, repository_id uuid, parent_id uuid)
ON CONFLICT (kind, unique_key)
    WHERE unique_key IS NOT NULL AND state IN ('available', 'scheduled', 'running', 'retryable')
    DO NOTHING
RETURNING id, queue, state

-- name: open_by_key
SELECT id FROM jobs
WHERE kind = %(kind)s::text AND unique_key = %(unique_key)s::text
  AND state IN ('available', 'scheduled', 'running', 'retryable')

-- name: notify
SELECT pg_notify('lumilio_jobs', %(queue)s::text)

-- name: claim
-- The array is evaluated once, so LIMIT holds under any plan; the worker's own row is locked in the
-- same statement, so a worker that was reaped claims nothing.
WITH me AS MATERIALIZED (SELECT id FROM workers WHERE id = %(worker_id)s::uuid FOR KEY SHARE)
UPDATE jobs SET state = 'running', worker_id = me.id, token = nextval('job_token'),
                attempt = jobs.attempt + 1, attempted_at = now(), progress = NULL
FROM me
WHERE jobs.ctid = ANY (ARRAY(
    SELECT ctid FROM jobs
    WHERE queue = %(queue)s::text AND state = 'available'
    ORDER BY priority, seq
    LIMIT %(count)s::int
    FOR UPDATE SKIP LOCKED))
RETURNING jobs.id, jobs.token, jobs.kind, jobs.queue, jobs.priority, jobs.seq, jobs.attempt, jobs.max_attempts,
          jobs.args, jobs.asset_id, jobs.repository_id

-- name: complete
-- Deleting by token is the fence: what does not come back was taken away and must not take effect.
WITH done AS (
    SELECT * FROM unnest(%(ids)s::uuid[], %(tokens)s::bigint[], %(results)s::text[], %(run_ms)s::real[])
        AS d (id, token, result, run_ms)),
gone AS (
    DELETE FROM jobs USING done
    WHERE jobs.id = done.id AND jobs.token = done.token AND jobs.state = 'running'
    RETURNING jobs.*, done.result, done.run_ms)
INSERT INTO job_history (id, kind, queue, state, priority, attempt, max_attempts, args, result, errors, created_at,
                         scheduled_at, attempted_at, finished_at, run_ms, asset_id, repository_id, parent_id, tags)
SELECT id, kind, queue, 'completed', priority, attempt, max_attempts, args, result::jsonb, errors, created_at,
       scheduled_at, attempted_at, clock_timestamp(), run_ms, asset_id, repository_id, parent_id, tags
FROM gone
RETURNING id

-- name: fail
-- to 'retryable' at a time, or to 'discarded' when there is none
UPDATE jobs SET
    state = CASE WHEN %(retry_at)s::timestamptz IS NULL THEN 'discarded' ELSE 'retryable' END,
    scheduled_at = coalesce(%(retry_at)s::timestamptz, scheduled_at),
    finished_at = CASE WHEN %(retry_at)s::timestamptz IS NULL THEN now() END,
    worker_id = NULL, token = NULL, progress = NULL,
    errors = CASE WHEN jsonb_array_length(errors) >= 20 THEN errors - 0 ELSE errors END || %(error)s::jsonb
WHERE id = %(id)s::uuid AND token = %(token)s::bigint AND state = 'running'
RETURNING id

-- name: release
-- give attempts back, untouched, as if they had never begun
UPDATE jobs SET state = 'available', attempt = attempt - 1, worker_id = NULL, token = NULL, progress = NULL
FROM unnest(%(ids)s::uuid[], %(tokens)s::bigint[]) AS held (id, token)
WHERE jobs.id = held.id AND jobs.token = held.token AND jobs.state = 'running'

-- name: progress
UPDATE jobs SET progress = %(progress)s::jsonb
WHERE id = %(id)s::uuid AND token = %(token)s::bigint AND state = 'running'

-- name: promote
-- what was waiting for its time is now available
UPDATE jobs SET state = 'available'
WHERE id IN (SELECT id FROM jobs WHERE state IN ('scheduled', 'retryable') AND scheduled_at <= now()
             ORDER BY scheduled_at LIMIT 1000 FOR UPDATE SKIP LOCKED)
RETURNING queue

-- name: next_due
SELECT extract(epoch FROM min(scheduled_at) - now())::float8 FROM jobs WHERE state IN ('scheduled', 'retryable')

-- name: register_worker
INSERT INTO workers (id, host, pid, lock_key, expires_at)
VALUES (%(id)s, %(host)s, %(pid)s, %(lock_key)s, now() + make_interval(secs => %(lease_s)s::float8))

-- name: beat
UPDATE workers SET expires_at = now() + make_interval(secs => %(lease_s)s::float8)
WHERE id = %(id)s::uuid RETURNING id

-- name: lock_worker
SELECT pg_try_advisory_lock(%(lock_key)s::bigint)

-- name: retire_worker
DELETE FROM workers WHERE id = %(id)s::uuid

-- name: reap_workers
-- A worker is dead when its session's lock is free, or stuck when its lease ran out. Rows in use by
-- a claim are skipped: their worker lives.
DELETE FROM workers WHERE id IN (
    SELECT id FROM workers
    WHERE id <> %(self)s::uuid
      AND (expires_at < now() OR pg_try_advisory_xact_lock(lock_key))
    FOR UPDATE SKIP LOCKED)
RETURNING id

-- name: rescue
-- Running jobs whose worker is gone; a separate statement from the reaping, so that it sees every claim.
-- The attempt is given back: bytes are decoded in processes of their own, so the daemon's death is not the job's fault.
UPDATE jobs SET
    state = 'available', attempt = greatest(attempt - 1, 0), worker_id = NULL, token = NULL, progress = NULL,
    errors = CASE WHEN jsonb_array_length(errors) >= 20 THEN errors - 0 ELSE errors END
        || jsonb_build_array(jsonb_build_object(
            'code', 'worker_lost', 'message', 'the worker that held this job died or stopped answering',
            'error_class', 'WorkerLost', 'attempt', attempt, 'at', now()))
WHERE state = 'running' AND NOT EXISTS (SELECT 1 FROM workers WHERE workers.id = jobs.worker_id)
RETURNING queue

-- name: other_workers
SELECT EXISTS (SELECT 1 FROM workers WHERE id <> %(self)s::uuid)

-- name: counts
SELECT kind, queue, state, count(*) FROM jobs GROUP BY kind, queue, state

-- name: show
SELECT id, kind, queue, state, priority, attempt, max_attempts, args, NULL::jsonb AS result, errors, asset_id,
       repository_id, created_at, scheduled_at, attempted_at, finished_at, progress
FROM jobs WHERE id = %(id)s::uuid
UNION ALL
SELECT id, kind, queue, state, priority, attempt, max_attempts, args, result, errors, asset_id,
       repository_id, created_at, scheduled_at, attempted_at, finished_at, NULL
FROM job_history WHERE id = %(id)s::uuid
LIMIT 1

-- name: page
-- newest first; the id is a UUIDv7, so its order is the order of creation
SELECT * FROM (
    (SELECT id, kind, queue, state, priority, attempt, max_attempts, args, NULL::jsonb AS result, errors, asset_id,
            repository_id, created_at, scheduled_at, attempted_at, finished_at, progress
     FROM jobs
     WHERE (%(before)s::uuid IS NULL OR id < %(before)s::uuid)
       AND (%(state)s::text IS NULL OR state = %(state)s::text)
       AND (%(kind)s::text IS NULL OR kind = %(kind)s::text)
       AND (%(queue)s::text IS NULL OR queue = %(queue)s::text)
     ORDER BY id DESC LIMIT %(count)s::int)
    UNION ALL
    (SELECT id, kind, queue, state, priority, attempt, max_attempts, args, result, errors, asset_id,
            repository_id, created_at, scheduled_at, attempted_at, finished_at, NULL
     FROM job_history
     WHERE (%(before)s::uuid IS NULL OR id < %(before)s::uuid)
       AND (%(state)s::text IS NULL OR state = %(state)s::text)
       AND (%(kind)s::text IS NULL OR kind = %(kind)s::text)
       AND (%(queue)s::text IS NULL OR queue = %(queue)s::text)
     ORDER BY id DESC LIMIT %(count)s::int)
) AS jobs ORDER BY id DESC LIMIT %(count)s::int

-- name: open_of_kind
SELECT id, state, repository_id, progress FROM jobs
WHERE kind = %(kind)s::text AND state IN ('available', 'scheduled', 'running', 'retryable')
ORDER BY seq

-- name: lock_partitions
SELECT pg_advisory_xact_lock(hashtext('job_history'))

-- name: partitions
SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent = 'job_history'::regclass AND c.relname ~ '^job_history_[0-9]{8}$'

-- name: partition_occupied
-- rows that came while no partition existed stay in the default one and forbid making that day's
SELECT 1 FROM job_history_other WHERE finished_at >= %(since)s::timestamptz AND finished_at < %(until)s::timestamptz
LIMIT 1
