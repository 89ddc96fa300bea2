-- name: copy
-- the quickest way in: no unique keys, nothing to wait for, due at once
COPY jobs (id, kind, queue, priority, max_attempts, args, asset_id, repository_id, parent_id, tags) FROM STDIN

-- name: copy_many
COPY jobs (id, kind, queue, priority, max_attempts, args, repository_id, tags) FROM STDIN

-- name: enqueue
-- many at once, each row a JSON object; a unique key that is already open keeps the open job
INSERT INTO jobs (id, kind, queue, state, priority, max_attempts, args, unique_key, scheduled_at, waits_for, awaited,
                  group_id, asset_id, repository_id, parent_id, tags)
SELECT j.id, j.kind, j.queue,
       CASE WHEN j.waits_for > 0 OR j.scheduled_at > now() THEN 'scheduled' ELSE 'available' END,
       j.priority, j.max_attempts, j.args, j.unique_key, coalesce(j.scheduled_at, now()), j.waits_for, j.awaited,
       j.group_id, j.asset_id, j.repository_id, j.parent_id, j.tags
FROM jsonb_to_recordset(%(jobs)s::jsonb) AS j (
    id uuid, kind text, queue text, priority smallint, max_attempts smallint, args jsonb, unique_key text,
    scheduled_at timestamptz, waits_for integer, awaited boolean, group_id uuid, asset_id uuid, repository_id uuid,
    parent_id uuid, tags text[])
ON CONFLICT (kind, unique_key)
    WHERE unique_key IS NOT NULL AND state IN ('available', 'scheduled', 'running', 'retryable')
    DO NOTHING
RETURNING id, queue, state

-- name: let_go
-- a running job works with what it was given: its key goes to the one that replaces it
UPDATE jobs SET unique_key = NULL
FROM unnest(%(kinds)s::text[], %(keys)s::text[]) AS wanted (kind, unique_key)
WHERE jobs.kind = wanted.kind AND jobs.unique_key = wanted.unique_key AND state = 'running'

-- name: enqueue_replacing
-- A job that waits under the same key becomes this one, with its id and what waits for it kept; with
-- only_time it is merely moved to this one's time.
INSERT INTO jobs AS old (id, kind, queue, state, priority, max_attempts, args, unique_key, scheduled_at, waits_for,
                         awaited, group_id, asset_id, repository_id, parent_id, tags)
SELECT j.id, j.kind, j.queue,
       CASE WHEN j.waits_for > 0 OR j.scheduled_at > now() THEN 'scheduled' ELSE 'available' END,
       j.priority, j.max_attempts, j.args, j.unique_key, coalesce(j.scheduled_at, now()), j.waits_for, j.awaited,
       j.group_id, j.asset_id, j.repository_id, j.parent_id, j.tags
FROM jsonb_to_recordset(%(jobs)s::jsonb) AS j (
    id uuid, kind text, queue text, priority smallint, max_attempts smallint, args jsonb, unique_key text,
    scheduled_at timestamptz, waits_for integer, awaited boolean, group_id uuid, asset_id uuid, repository_id uuid,
    parent_id uuid, tags text[])
ON CONFLICT (kind, unique_key)
    WHERE unique_key IS NOT NULL AND state IN ('available', 'scheduled', 'running', 'retryable')
    DO UPDATE SET
        queue = CASE WHEN %(only_time)s::boolean THEN old.queue ELSE excluded.queue END,
        args = CASE WHEN %(only_time)s::boolean THEN old.args ELSE excluded.args END,
        priority = CASE WHEN %(only_time)s::boolean THEN old.priority ELSE excluded.priority END,
        max_attempts = CASE WHEN %(only_time)s::boolean THEN old.max_attempts ELSE excluded.max_attempts END,
        asset_id = CASE WHEN %(only_time)s::boolean THEN old.asset_id ELSE excluded.asset_id END,
        repository_id = CASE WHEN %(only_time)s::boolean THEN old.repository_id ELSE excluded.repository_id END,
        tags = CASE WHEN %(only_time)s::boolean THEN old.tags ELSE excluded.tags END,
        attempt = CASE WHEN %(only_time)s::boolean THEN old.attempt ELSE 0 END,
        state = CASE WHEN old.waits_for > 0 OR excluded.scheduled_at > now() THEN 'scheduled' ELSE 'available' END,
        scheduled_at = excluded.scheduled_at
    WHERE old.state <> 'running'
RETURNING id, queue, state, kind, unique_key

-- name: open_by_key
SELECT id FROM jobs
WHERE kind = %(kind)s::text AND unique_key = %(unique_key)s::text
  AND state IN ('available', 'scheduled', 'running', 'retryable')

-- name: begin
-- any statement begins a transaction
SELECT

-- name: claim
-- One line for each kind and priority, each read from where the last claim ended (floors): what died
-- below is not walked over again. Within a kind the lines are read in order and only as far as its count
-- needs. Nothing found means nothing locked and no transaction id. The worker's own row is locked in the
-- same statement, so a worker that was reaped claims nothing. The commit need not wait for the disk: a
-- claim that is lost in a crash leaves its job available, and its token can write nothing. For that a
-- token is never given twice: the sequence may be lost with the claim, so half of it is random.
WITH picked AS MATERIALIZED (
    SELECT found.ctid
    FROM unnest(%(kinds)s::text[], %(counts)s::int[], %(urgent)s::bigint[], %(normal)s::bigint[], %(low)s::bigint[],
                %(idle)s::bigint[]) AS wanted (kind, count, urgent, normal, low, idle),
    LATERAL (
        SELECT line.ctid
        FROM generate_series(1, 4) AS urgency (priority),
        LATERAL (
            SELECT jobs.ctid FROM jobs
            WHERE queue = %(queue)s::text AND jobs.kind = wanted.kind AND jobs.priority = urgency.priority
              AND seq >= (ARRAY[wanted.urgent, wanted.normal, wanted.low, wanted.idle])[urgency.priority]
              AND state = 'available' AND NOT suspect
            ORDER BY seq
            LIMIT wanted.count
            FOR UPDATE SKIP LOCKED) AS line
        LIMIT wanted.count) AS found
    WHERE NOT EXISTS (SELECT 1 FROM job_queues
                      WHERE name IN (%(queue)s::text, '*') AND paused_at IS NOT NULL)),
me AS MATERIALIZED (
    SELECT id, set_config('synchronous_commit', 'off', true) FROM workers
    WHERE id = %(worker_id)s::uuid AND EXISTS (SELECT 1 FROM picked) FOR KEY SHARE)
UPDATE jobs SET state = 'running', worker_id = me.id, started = false,
                token = (trunc(random() * 2147483648)::bigint << 32) | (nextval('job_token') & 4294967295),
                attempt = jobs.attempt + 1, attempted_at = now(), progress = NULL
FROM me
WHERE jobs.ctid = ANY (ARRAY(SELECT ctid FROM picked))
RETURNING jobs.id, jobs.token, jobs.kind, jobs.queue, jobs.priority, jobs.seq, jobs.attempt, jobs.max_attempts,
          jobs.args, jobs.asset_id, jobs.repository_id, false AS suspect

-- name: claim_suspect
-- one that was held by a worker that died; that it runs now is on record with the claim, and on disk
WITH picked AS MATERIALIZED (
    SELECT ctid FROM jobs
    WHERE queue = %(queue)s::text AND kind = ANY (%(kinds)s::text[]) AND state = 'available' AND suspect
      AND NOT EXISTS (SELECT 1 FROM job_queues WHERE name IN (%(queue)s::text, '*') AND paused_at IS NOT NULL)
    ORDER BY priority, seq LIMIT 1
    FOR UPDATE SKIP LOCKED),
me AS MATERIALIZED (
    SELECT id FROM workers WHERE id = %(worker_id)s::uuid AND EXISTS (SELECT 1 FROM picked) FOR KEY SHARE)
UPDATE jobs SET state = 'running', worker_id = me.id, started = true,
                token = (trunc(random() * 2147483648)::bigint << 32) | (nextval('job_token') & 4294967295),
                attempt = jobs.attempt + 1, attempted_at = now(), progress = NULL
FROM me
WHERE jobs.ctid = ANY (ARRAY(SELECT ctid FROM picked))
RETURNING jobs.id, jobs.token, jobs.kind, jobs.queue, jobs.priority, jobs.seq, jobs.attempt, jobs.max_attempts,
          jobs.args, jobs.asset_id, jobs.repository_id, true AS suspect

-- name: is_worker
SELECT 1 FROM workers WHERE id = %(worker_id)s::uuid

-- name: hold
SELECT jobs.id FROM jobs
JOIN unnest(%(ids)s::uuid[], %(tokens)s::bigint[]) AS held (id, token) ON jobs.id = held.id AND jobs.token = held.token
WHERE jobs.state = 'running'
ORDER BY jobs.id
FOR UPDATE OF jobs

-- name: complete
-- Deleting by token is the fence: what does not come back was taken away and must not take effect.
WITH done AS (
    SELECT * FROM unnest(%(ids)s::uuid[], %(tokens)s::bigint[], %(results)s::text[], %(run_ms)s::real[])
        AS d (id, token, result, run_ms)),
gone AS (
    DELETE FROM jobs USING done
    WHERE jobs.id = done.id AND jobs.token = done.token AND jobs.state = 'running'
    RETURNING jobs.*, done.result, done.run_ms),
kept AS (
    INSERT INTO job_history (id, kind, queue, state, priority, attempt, max_attempts, args, result, errors, created_at,
                             scheduled_at, attempted_at, finished_at, run_ms, asset_id, repository_id, parent_id, tags,
                             group_id, unique_key)
    SELECT id, kind, queue, 'completed', priority, attempt, max_attempts, args, result::jsonb, errors, created_at,
           scheduled_at, attempted_at, clock_timestamp(), run_ms, asset_id, repository_id, parent_id, tags,
           group_id, unique_key
    FROM gone)
SELECT id, awaited, group_id FROM gone

-- name: fail
-- to 'retryable' after a while, or to 'discarded' when there is none
UPDATE jobs SET
    state = CASE WHEN %(after_s)s::float8 IS NULL THEN 'discarded' ELSE 'retryable' END,
    scheduled_at = coalesce(now() + make_interval(secs => %(after_s)s::float8), scheduled_at),
    finished_at = CASE WHEN %(after_s)s::float8 IS NULL THEN now() END,
    worker_id = NULL, token = NULL, progress = NULL, suspect = false,
    errors = CASE WHEN jsonb_array_length(errors) >= 20 THEN errors - 0 ELSE errors END || %(error)s::jsonb
WHERE id = %(id)s::uuid AND token = %(token)s::bigint AND state = 'running'
RETURNING id

-- name: put_off
-- What the work needs is away: the attempt is given back. The delay begins with what the error asks for and doubles with
-- the times in a row that end the list of errors; none is discarded for it.
UPDATE jobs SET
    state = 'retryable', attempt = greatest(attempt - 1, 0), worker_id = NULL, token = NULL, progress = NULL,
    scheduled_at = now() + make_interval(secs => least(
        greatest(%(max_s)s::float8, %(after_s)s::float8),
        %(after_s)s::float8 * 2 ^ (
            SELECT count(*) FROM jsonb_array_elements(errors) WITH ORDINALITY AS told (error, nth)
            WHERE nth > coalesce((SELECT max(nth) FROM jsonb_array_elements(errors) WITH ORDINALITY AS o (error, nth)
                                  WHERE o.error ->> 'put_off' IS DISTINCT FROM 'true'), 0)))),
    errors = CASE WHEN jsonb_array_length(errors) >= 20 THEN errors - 0 ELSE errors END || %(error)s::jsonb
WHERE id = %(id)s::uuid AND token = %(token)s::bigint AND state = 'running'
RETURNING id

-- name: release
-- give attempts back, untouched, as if they had never begun
UPDATE jobs SET state = 'available', attempt = attempt - 1, worker_id = NULL, token = NULL, progress = NULL
FROM unnest(%(ids)s::uuid[], %(tokens)s::bigint[]) AS held (id, token)
WHERE jobs.id = held.id AND jobs.token = held.token AND jobs.state = 'running'
RETURNING jobs.queue

-- name: progress
-- need not wait for the disk: it is told again
WITH me AS MATERIALIZED (SELECT set_config('synchronous_commit', 'off', true) AS told)
UPDATE jobs SET progress = %(progress)s::jsonb FROM me
WHERE id = %(id)s::uuid AND token = %(token)s::bigint AND state = 'running' AND me.told IS NOT NULL

-- name: promote
-- what was waiting for its time is now available
UPDATE jobs SET state = 'available'
WHERE id IN (SELECT id FROM jobs
             WHERE state IN ('scheduled', 'retryable') AND waits_for = 0 AND scheduled_at <= now()
             ORDER BY scheduled_at LIMIT 1000 FOR UPDATE SKIP LOCKED)
RETURNING queue

-- name: next_due
SELECT extract(epoch FROM min(scheduled_at) - now())::float8 FROM jobs
WHERE state IN ('scheduled', 'retryable') AND waits_for = 0

-- name: hasten
-- what was put off because a repository was away, or for one reason, need not wait any longer
UPDATE jobs SET scheduled_at = now()
WHERE repository_id = %(repository_id)s::uuid AND state = 'retryable' AND waits_for = 0 AND scheduled_at > now()
  AND (errors -> -1 ->> 'put_off')::boolean AND kind <> %(but)s::text
  AND (%(code)s::text = '' OR errors -> -1 ->> 'code' = %(code)s::text)
