-- name: register_worker
INSERT INTO workers (id, host, pid, lock_key, expires_at)
VALUES (%(id)s, %(host)s, %(pid)s, %(lock_key)s, now() + make_interval(secs => %(lease_s)s::float8))

-- name: beat
-- tells also what the worker still holds: what it believes to hold besides was taken away
UPDATE workers SET expires_at = now() + make_interval(secs => %(lease_s)s::float8)
WHERE id = %(id)s::uuid
RETURNING ARRAY(SELECT token FROM jobs WHERE worker_id = %(id)s::uuid AND state = 'running')

-- name: relock
-- under a key of its own for every connection: the server may not know yet that the last one is dead
UPDATE workers SET lock_key = %(lock_key)s::bigint, expires_at = now() + make_interval(secs => %(lease_s)s::float8)
WHERE id = %(id)s::uuid RETURNING id

-- name: lock_worker
SELECT pg_try_advisory_lock(%(lock_key)s::bigint)

-- name: retire_worker
DELETE FROM workers WHERE id = %(id)s::uuid

-- name: list_workers
SELECT workers.id, host, pid, started_at, count(jobs.id) AS held
FROM workers LEFT JOIN jobs ON jobs.worker_id = workers.id AND jobs.state = 'running'
GROUP BY workers.id ORDER BY workers.id

-- name: reap_workers
-- Of the workers that the reaper has watched for long enough, and whose lease is still what it was: those
-- whose session's lock is free are dead, those that hold jobs are stuck. Told apart, for a stuck one says
-- nothing of its jobs. Rows in use by a claim are skipped: their worker lives.
DELETE FROM workers WHERE id IN (
    SELECT workers.id FROM workers
    JOIN unnest(%(watched)s::uuid[], %(leases)s::timestamptz[]) AS watched (id, expires_at)
        ON watched.id = workers.id AND watched.expires_at = workers.expires_at
    WHERE workers.id <> %(self)s::uuid
      AND (pg_try_advisory_xact_lock(lock_key)
           OR EXISTS (SELECT 1 FROM jobs WHERE jobs.worker_id = workers.id AND jobs.state = 'running'))
    FOR UPDATE OF workers SKIP LOCKED)
RETURNING id

-- name: pardon
-- what a stuck worker ran is not to blame for its end
UPDATE jobs SET started = false WHERE worker_id = ANY (%(ids)s::uuid[]) AND state = 'running' AND started

-- name: rescue
-- Running jobs whose worker is gone; a separate statement from the reaping, so that it sees every claim.
-- The attempt is given back: bytes are decoded in processes of their own, so the worker's death need not
-- be the job's fault. From then on the job is a suspect: it runs alone in its process, and that is written
-- down first (started). The second worker that dies so is proof enough.
WITH orphans AS (
    SELECT id, token AS was,
           CASE WHEN NOT started THEN 'given_back' WHEN deaths + 1 < %(deaths_max)s::int THEN 'counted'
                ELSE 'poison' END AS fate
    FROM jobs
    WHERE state = 'running' AND NOT EXISTS (SELECT 1 FROM workers WHERE workers.id = jobs.worker_id)
    FOR UPDATE SKIP LOCKED)
UPDATE jobs SET
    state = CASE fate WHEN 'given_back' THEN 'available' WHEN 'counted' THEN 'retryable' ELSE 'discarded' END,
    attempt = CASE fate WHEN 'poison' THEN attempt ELSE greatest(attempt - 1, 0) END,
    deaths = deaths + CASE fate WHEN 'given_back' THEN 0 ELSE 1 END,
    suspect = true,
    scheduled_at = CASE fate WHEN 'counted' THEN now() + make_interval(secs => 0.5 + random()) ELSE scheduled_at END,
    finished_at = CASE fate WHEN 'poison' THEN now() END,
    worker_id = NULL, token = NULL, progress = NULL,
    errors = CASE WHEN jsonb_array_length(errors) >= 20 THEN errors - 0 ELSE errors END
        || jsonb_build_array(jsonb_build_object(
            'code', CASE fate WHEN 'poison' THEN 'poison' ELSE 'worker_lost' END,
            'message', CASE fate WHEN 'poison' THEN 'every worker that ran this job alone died'
                                 ELSE 'the worker that held this job died or stopped answering' END,
            'error_class', 'WorkerLost', 'attempt', attempt, 'at', now(), 'worker', worker_id))
FROM orphans WHERE jobs.id = orphans.id
RETURNING jobs.id, orphans.was AS token, kind, queue, priority, seq, attempt, max_attempts, args, asset_id,
          repository_id, fate = 'poison' AS poison

-- name: release_strays
-- what this worker holds in the table and not in memory: the answer to a claim was lost, or a release failed
UPDATE jobs SET state = 'available', attempt = greatest(attempt - 1, 0), worker_id = NULL, token = NULL, progress = NULL
WHERE worker_id = %(worker_id)s::uuid AND state = 'running'
  AND (%(tokens)s::bigint[] IS NULL OR token = ANY (%(tokens)s::bigint[]))
RETURNING queue

-- name: look
-- Everything the keeper must know, read in one statement and nothing written; the kinds with work are
-- found by skipping through the index, one probe for each. A free lock of another worker means its
-- death; trying it lasts as long as this statement.
WITH RECURSIVE waiting AS (
    (SELECT queue, kind FROM jobs WHERE state = 'available' AND NOT suspect ORDER BY queue, kind LIMIT 1)
    UNION ALL
    SELECT following.queue, following.kind
    FROM waiting, LATERAL (
        SELECT queue, kind FROM jobs
        WHERE state = 'available' AND NOT suspect AND (queue, kind) > (waiting.queue, waiting.kind)
        ORDER BY queue, kind LIMIT 1) AS following)
SELECT coalesce((
           SELECT jsonb_agg(jsonb_build_object(
               'id', id, 'host', host, 'pid', pid, 'expires_at', expires_at, 'expired', expires_at < now(),
               'dead', pg_try_advisory_xact_lock(lock_key),
               'holds', EXISTS (SELECT 1 FROM jobs WHERE jobs.worker_id = workers.id AND jobs.state = 'running')))
           FROM workers WHERE id <> %(self)s::uuid), '[]'::jsonb) AS others,
       EXISTS (SELECT 1 FROM jobs WHERE state = 'running'
               AND NOT EXISTS (SELECT 1 FROM workers WHERE workers.id = jobs.worker_id)) AS orphans,
       ARRAY(SELECT token FROM jobs WHERE state = 'running' AND worker_id = %(self)s::uuid
             AND token <> ALL (%(tokens)s::bigint[])) AS strays,
       (SELECT extract(epoch FROM min(scheduled_at) - now())::float8
        FROM jobs WHERE state IN ('scheduled', 'retryable') AND waits_for = 0) AS due_s,
       (SELECT extract(epoch FROM min(next_at) - now())::float8
        FROM job_schedules WHERE paused_at IS NULL) AS fire_s,
       coalesce((SELECT jsonb_agg(jsonb_build_array(queue, kind)) FROM (
           SELECT queue, kind FROM waiting
           UNION SELECT queue, kind FROM jobs WHERE state = 'available' AND suspect) AS all_waiting), '[]'::jsonb) AS waiting,
       coalesce((SELECT jsonb_agg(to_jsonb(job_queues)) FROM job_queues), '[]'::jsonb) AS settings
