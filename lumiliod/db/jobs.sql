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

-- name: begin
-- any statement begins a transaction
SELECT

-- name: notify
SELECT pg_notify('lumilio_jobs', %(queue)s::text)

-- name: waiting_kinds
-- a look without a lock, so that finding nothing costs no transaction id
SELECT known.kind FROM unnest(%(kinds)s::text[]) AS known (kind)
WHERE EXISTS (SELECT 1 FROM jobs WHERE queue = %(queue)s::text AND jobs.kind = known.kind AND state = 'available')

-- name: claim
-- The array is evaluated once, so LIMIT holds under any plan; the worker's own row is locked in the
-- same statement, so a worker that was reaped claims nothing. Suspects were held by the last three
-- workers that died: their start is written down (see rescue).
WITH me AS MATERIALIZED (SELECT id FROM workers WHERE id = %(worker_id)s::uuid FOR KEY SHARE)
UPDATE jobs SET state = 'running', worker_id = me.id, token = nextval('job_token'), started = false,
                attempt = jobs.attempt + 1, attempted_at = now(), progress = NULL
FROM me
WHERE jobs.ctid = ANY (ARRAY(
    SELECT picked.ctid
    FROM unnest(%(kinds)s::text[], %(counts)s::int[]) AS wanted (kind, count),
    LATERAL (
        SELECT jobs.ctid FROM jobs
        WHERE queue = %(queue)s::text AND jobs.kind = wanted.kind AND state = 'available'
        ORDER BY priority, seq
        LIMIT wanted.count
        FOR UPDATE SKIP LOCKED) AS picked))
RETURNING jobs.id, jobs.token, jobs.kind, jobs.queue, jobs.priority, jobs.seq, jobs.attempt, jobs.max_attempts,
          jobs.args, jobs.asset_id, jobs.repository_id,
          coalesce(errors -> -1 ->> 'code' = 'worker_lost' AND errors -> -2 ->> 'code' = 'worker_lost'
                   AND errors -> -3 ->> 'code' = 'worker_lost', false) AS suspect

-- name: is_worker
SELECT 1 FROM workers WHERE id = %(worker_id)s::uuid

-- name: mark_started
UPDATE jobs SET started = true
FROM unnest(%(ids)s::uuid[], %(tokens)s::bigint[]) AS held (id, token)
WHERE jobs.id = held.id AND jobs.token = held.token AND jobs.state = 'running'

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

-- name: put_off
-- What the work needs is away: the attempt is given back. The delay grows with the times in a row
-- that end the list of errors; none is discarded for it.
UPDATE jobs SET
    state = 'retryable', attempt = greatest(attempt - 1, 0), worker_id = NULL, token = NULL, progress = NULL,
    scheduled_at = now() + make_interval(secs => greatest(
        %(after_s)s::float8,
        least(%(max_s)s::float8, %(first_s)s::float8 * 2 ^ (
            SELECT count(*) FROM jsonb_array_elements(errors) WITH ORDINALITY AS told (error, nth)
            WHERE nth > coalesce((SELECT max(nth) FROM jsonb_array_elements(errors) WITH ORDINALITY AS o (error, nth)
                                  WHERE o.error ->> 'put_off' IS DISTINCT FROM 'true'), 0))))),
    errors = CASE WHEN jsonb_array_length(errors) >= 20 THEN errors - 0 ELSE errors END || %(error)s::jsonb
WHERE id = %(id)s::uuid AND token = %(token)s::bigint AND state = 'running'
RETURNING id

-- name: release
-- give attempts back, untouched, as if they had never begun
UPDATE jobs SET state = 'available', attempt = attempt - 1, worker_id = NULL, token = NULL, progress = NULL
FROM unnest(%(ids)s::uuid[], %(tokens)s::bigint[]) AS held (id, token)
WHERE jobs.id = held.id AND jobs.token = held.token AND jobs.state = 'running'

-- name: release_strays
-- what this worker holds in the table and not in memory: the answer to a claim was lost, or a release failed
UPDATE jobs SET state = 'available', attempt = greatest(attempt - 1, 0), worker_id = NULL, token = NULL, progress = NULL
WHERE worker_id = %(worker_id)s::uuid AND state = 'running' AND token <> ALL (%(tokens)s::bigint[])
  AND attempted_at < clock_timestamp() - make_interval(secs => %(older_s)s::float8)
RETURNING queue

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

-- name: relock
-- under a key of its own for every connection: the server may not know yet that the last one is dead
UPDATE workers SET lock_key = %(lock_key)s::bigint, expires_at = now() + make_interval(secs => %(lease_s)s::float8)
WHERE id = %(id)s::uuid RETURNING id

-- name: lock_worker
SELECT pg_try_advisory_lock(%(lock_key)s::bigint)

-- name: retire_worker
DELETE FROM workers WHERE id = %(id)s::uuid

-- name: reap_workers
-- A worker is dead when its session's lock is free, or stuck when its lease ran out while it holds
-- jobs: one that holds none does not beat. Rows in use by a claim are skipped: their worker lives.
DELETE FROM workers WHERE id IN (
    SELECT id FROM workers
    WHERE id <> %(self)s::uuid
      AND (pg_try_advisory_xact_lock(lock_key)
           OR (expires_at < now()
               AND EXISTS (SELECT 1 FROM jobs WHERE jobs.worker_id = workers.id AND jobs.state = 'running')))
    FOR UPDATE SKIP LOCKED)
RETURNING id

-- name: rescue
-- Running jobs whose worker is gone; a separate statement from the reaping, so that it sees every claim.
-- The attempt is given back: bytes are decoded in processes of their own, so the daemon's death is not
-- the job's fault. Only what was running when its worker died, after three such deaths in a row, pays
-- with an attempt; it waits a while before the next one, apart from what ran beside it.
WITH orphans AS (
    SELECT id, token AS was,
           CASE WHEN NOT started THEN 'given_back' WHEN attempt < max_attempts THEN 'counted' ELSE 'poison' END AS fate
    FROM jobs
    WHERE state = 'running' AND NOT EXISTS (SELECT 1 FROM workers WHERE workers.id = jobs.worker_id)
    FOR UPDATE SKIP LOCKED)
UPDATE jobs SET
    state = CASE fate WHEN 'given_back' THEN 'available' WHEN 'counted' THEN 'retryable' ELSE 'discarded' END,
    attempt = CASE fate WHEN 'given_back' THEN greatest(attempt - 1, 0) ELSE attempt END,
    scheduled_at = CASE fate WHEN 'counted' THEN now() + make_interval(secs => (0.5 + random()) * 2 ^ least(attempt, 8))
                             ELSE scheduled_at END,
    finished_at = CASE fate WHEN 'poison' THEN now() END,
    worker_id = NULL, token = NULL, progress = NULL,
    errors = CASE WHEN jsonb_array_length(errors) >= 20 THEN errors - 0 ELSE errors END
        || jsonb_build_array(jsonb_build_object(
            'code', CASE fate WHEN 'poison' THEN 'poison' ELSE 'worker_lost' END,
            'message', CASE fate WHEN 'poison' THEN 'every worker that ran this job died'
                                 ELSE 'the worker that held this job died or stopped answering' END,
            'error_class', 'WorkerLost', 'attempt', attempt, 'at', now()))
FROM orphans WHERE jobs.id = orphans.id
RETURNING jobs.id, orphans.was AS token, kind, queue, priority, seq, attempt, max_attempts, args, asset_id,
          repository_id, fate = 'poison' AS poison

-- name: look
-- Everything the keeper must know, read and nothing written; the kinds with work are found by skipping
-- through the index, one probe for each.
WITH RECURSIVE waiting AS (
    (SELECT queue, kind FROM jobs WHERE state = 'available' ORDER BY queue, kind LIMIT 1)
    UNION ALL
    SELECT following.queue, following.kind
    FROM waiting, LATERAL (
        SELECT queue, kind FROM jobs
        WHERE state = 'available' AND (queue, kind) > (waiting.queue, waiting.kind)
        ORDER BY queue, kind LIMIT 1) AS following)
SELECT EXISTS (SELECT 1 FROM workers WHERE id <> %(self)s::uuid) AS others,
       EXISTS (SELECT 1 FROM jobs WHERE state = 'running'
               AND NOT EXISTS (SELECT 1 FROM workers WHERE workers.id = jobs.worker_id)) AS orphans,
       EXISTS (SELECT 1 FROM jobs WHERE state = 'running' AND worker_id = %(self)s::uuid
               AND token <> ALL (%(tokens)s::bigint[])
               AND attempted_at < clock_timestamp() - make_interval(secs => %(older_s)s::float8)) AS strays,
       (SELECT extract(epoch FROM min(scheduled_at) - now())::float8
        FROM jobs WHERE state IN ('scheduled', 'retryable')) AS due_s,
       coalesce((SELECT jsonb_agg(jsonb_build_array(queue, kind)) FROM waiting), '[]'::jsonb) AS waiting

-- name: counts
-- in the order of jobs_by_kind, which holds all it needs
SELECT kind, queue, state, count(*) FROM jobs GROUP BY kind, state, queue

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

-- name: hasten
-- what was put off because a repository was away need not wait any longer
UPDATE jobs SET scheduled_at = now()
WHERE repository_id = %(repository_id)s::uuid AND state = 'retryable' AND scheduled_at > now()
  AND (errors -> -1 ->> 'put_off')::boolean
