-- name: find
-- Jobs of the table that a filter names, locked, in pages by id. What is in somebody's hands this moment
-- is passed over; the caller comes again.
SELECT id FROM jobs
WHERE state = ANY (%(states)s::text[]) AND id > %(after)s::uuid
  AND (%(ids)s::uuid[] IS NULL OR id = ANY (%(ids)s::uuid[]))
  AND (%(kind)s::text IS NULL OR kind = %(kind)s::text)
  AND (%(queue)s::text IS NULL OR queue = %(queue)s::text)
  AND (%(cause)s::text IS NULL OR (cause = %(cause)s::text AND state IN ('retryable', 'discarded')))
  AND (%(repository_id)s::uuid IS NULL OR repository_id = %(repository_id)s::uuid)
  AND (%(asset_id)s::uuid IS NULL OR asset_id = %(asset_id)s::uuid)
  AND (%(tag)s::text IS NULL OR %(tag)s::text = ANY (tags))
  AND (%(older_s)s::float8 IS NULL OR created_at < now() - make_interval(secs => %(older_s)s::float8))
ORDER BY id LIMIT %(count)s::int
FOR UPDATE SKIP LOCKED

-- name: matching
SELECT count(*) FROM jobs
WHERE state = ANY (%(states)s::text[])
  AND (%(ids)s::uuid[] IS NULL OR id = ANY (%(ids)s::uuid[]))
  AND (%(kind)s::text IS NULL OR kind = %(kind)s::text)
  AND (%(queue)s::text IS NULL OR queue = %(queue)s::text)
  AND (%(cause)s::text IS NULL OR (cause = %(cause)s::text AND state IN ('retryable', 'discarded')))
  AND (%(repository_id)s::uuid IS NULL OR repository_id = %(repository_id)s::uuid)
  AND (%(asset_id)s::uuid IS NULL OR asset_id = %(asset_id)s::uuid)
  AND (%(tag)s::text IS NULL OR %(tag)s::text = ANY (tags))
  AND (%(older_s)s::float8 IS NULL OR created_at < now() - make_interval(secs => %(older_s)s::float8))

-- name: find_cancelled
SELECT id FROM job_history
WHERE state = 'cancelled' AND id > %(after)s::uuid
  AND (%(ids)s::uuid[] IS NULL OR id = ANY (%(ids)s::uuid[]))
  AND (%(kind)s::text IS NULL OR kind = %(kind)s::text)
  AND (%(queue)s::text IS NULL OR queue = %(queue)s::text)
  AND (%(repository_id)s::uuid IS NULL OR repository_id = %(repository_id)s::uuid)
  AND (%(asset_id)s::uuid IS NULL OR asset_id = %(asset_id)s::uuid)
  AND (%(tag)s::text IS NULL OR %(tag)s::text = ANY (tags))
  AND (%(older_s)s::float8 IS NULL OR created_at < now() - make_interval(secs => %(older_s)s::float8))
ORDER BY id LIMIT %(count)s::int
FOR UPDATE SKIP LOCKED

-- name: matching_cancelled
SELECT count(*) FROM job_history
WHERE state = 'cancelled'
  AND (%(ids)s::uuid[] IS NULL OR id = ANY (%(ids)s::uuid[]))
  AND (%(kind)s::text IS NULL OR kind = %(kind)s::text)
  AND (%(queue)s::text IS NULL OR queue = %(queue)s::text)
  AND (%(repository_id)s::uuid IS NULL OR repository_id = %(repository_id)s::uuid)
  AND (%(asset_id)s::uuid IS NULL OR asset_id = %(asset_id)s::uuid)
  AND (%(tag)s::text IS NULL OR %(tag)s::text = ANY (tags))
  AND (%(older_s)s::float8 IS NULL OR created_at < now() - make_interval(secs => %(older_s)s::float8))

-- name: cancel
-- At once, whoever runs it: without the row no result can be written any more.
WITH gone AS (
    DELETE FROM jobs WHERE id = ANY (%(ids)s::uuid[]) RETURNING *),
waits AS (
    DELETE FROM job_waits USING gone WHERE job_waits.job_id = gone.id RETURNING job_id, on_id),
kept AS (
    INSERT INTO job_history (id, kind, queue, state, priority, attempt, max_attempts, args, errors, created_at,
                             scheduled_at, attempted_at, finished_at, asset_id, repository_id, parent_id, tags,
                             group_id, unique_key, waits_on)
    SELECT id, kind, queue, 'cancelled', priority, attempt, max_attempts, args,
           CASE WHEN %(reason)s::text IS NULL THEN errors
                ELSE errors || jsonb_build_array(jsonb_build_object(
                    'code', %(reason)s::text, 'message', %(message)s::text, 'error_class', 'Cancelled',
                    'attempt', attempt, 'at', now())) END,
           created_at, scheduled_at, attempted_at, clock_timestamp(), asset_id, repository_id, parent_id, tags,
           group_id, unique_key, waits_on
    FROM gone LEFT JOIN (SELECT job_id, array_agg(on_id) AS waits_on FROM waits GROUP BY job_id) AS w
        ON w.job_id = gone.id)
SELECT id, token, worker_id, awaited, group_id FROM gone

-- name: waiting_on
SELECT id FROM jobs WHERE id IN (SELECT job_id FROM job_waits WHERE on_id = ANY (%(ids)s::uuid[])) FOR UPDATE

-- name: discard
-- given up by a person: kept among the failures, and what it waits for with it
UPDATE jobs SET state = 'discarded', finished_at = now(),
    errors = CASE WHEN jsonb_array_length(errors) >= 20 THEN errors - 0 ELSE errors END || jsonb_build_array(
        jsonb_build_object('code', %(code)s::text, 'message', %(message)s::text, 'error_class', 'Discarded',
                           'attempt', attempt, 'at', now()))
WHERE id = ANY (%(ids)s::uuid[]) AND state IN ('available', 'scheduled', 'retryable')
RETURNING id, 0 AS token, kind, queue, priority, seq, attempt, max_attempts, args, asset_id, repository_id

-- name: retry
-- From the start, and now. Of several under one unique key the newest, and none beside an open one: that
-- one does the work already.
WITH picked AS (
    SELECT DISTINCT ON (kind, coalesce(unique_key, id::text)) id, state
    FROM (SELECT jobs.* FROM unnest(%(ids)s::uuid[]) AS asked (id) JOIN jobs USING (id) OFFSET 0) AS asked
    WHERE (state IN ('retryable', 'discarded') OR (state = 'scheduled' AND waits_for = 0))
    ORDER BY kind, coalesce(unique_key, id::text), (state = 'discarded'), id DESC)
UPDATE jobs SET state = CASE WHEN jobs.waits_for > 0 THEN 'scheduled' ELSE 'available' END,
                attempt = 0, deaths = 0, suspect = false, scheduled_at = now(), finished_at = NULL
FROM picked
WHERE jobs.id = picked.id
  AND (picked.state <> 'discarded' OR jobs.unique_key IS NULL OR NOT EXISTS (
      SELECT 1 FROM jobs AS twin
      WHERE twin.kind = jobs.kind AND twin.unique_key = jobs.unique_key
        AND twin.state IN ('available', 'scheduled', 'running', 'retryable')))
RETURNING jobs.id, jobs.queue

-- name: revive
-- Cancelled jobs that are wanted after all: of several under one key the newest, and none beside an open
-- one. The others stay what they are.
WITH picked AS (
    SELECT DISTINCT ON (kind, coalesce(unique_key, id::text)) id, finished_at
    FROM job_history
    WHERE id = ANY (%(ids)s::uuid[]) AND state = 'cancelled'
      AND NOT EXISTS (SELECT 1 FROM jobs AS twin
                      WHERE twin.kind = job_history.kind AND twin.unique_key = job_history.unique_key
                        AND twin.state IN ('available', 'scheduled', 'running', 'retryable'))
    ORDER BY kind, coalesce(unique_key, id::text), id DESC),
back AS (
    DELETE FROM job_history USING picked
    WHERE job_history.id = picked.id AND job_history.finished_at = picked.finished_at
    RETURNING job_history.*)
INSERT INTO jobs (id, kind, queue, priority, max_attempts, args, unique_key, created_at, errors, group_id, asset_id,
                  repository_id, parent_id, tags)
SELECT id, kind, queue, priority, max_attempts, args, unique_key, created_at, errors, group_id, asset_id,
       repository_id, parent_id, tags
FROM back
ORDER BY id
RETURNING id, queue, group_id, (SELECT waits_on FROM back WHERE back.id = jobs.id)

-- name: causes
-- what failed, by why: the newest message stands for all
SELECT kind, cause, count(*) AS count, count(*) FILTER (WHERE state = 'discarded') AS discarded,
       min((errors -> -1 ->> 'at')::timestamptz) AS first_at, max((errors -> -1 ->> 'at')::timestamptz) AS last_at,
       (array_agg(errors -> -1 ->> 'error_class' ORDER BY id DESC))[1] AS error_class,
       (array_agg(errors -> -1 ->> 'message' ORDER BY id DESC))[1] AS message,
       (array_agg(id ORDER BY id DESC))[1] AS example
FROM jobs
WHERE state IN ('retryable', 'discarded') AND cause IS NOT NULL
  AND (%(kind)s::text IS NULL OR kind = %(kind)s::text)
GROUP BY kind, cause ORDER BY count(*) DESC, kind, cause LIMIT %(count)s::int

-- name: counts
-- each state by the index that has only that: what waits in lines may be a million, the rest is little
SELECT kind, queue, 'available' AS state, count(*) FROM jobs WHERE state = 'available' AND NOT suspect
GROUP BY kind, queue
UNION ALL
SELECT kind, queue, state, count(*) FROM jobs WHERE state = 'available' AND suspect GROUP BY kind, queue, state
UNION ALL
SELECT kind, queue, state, count(*) FROM jobs WHERE state IN ('scheduled', 'retryable') AND waits_for = 0
GROUP BY kind, queue, state
UNION ALL
SELECT kind, queue, state, count(*) FROM jobs WHERE state IN ('retryable', 'discarded') AND state = 'discarded'
GROUP BY kind, queue, state
UNION ALL
SELECT kind, queue, state, count(*) FROM jobs WHERE state = 'running' GROUP BY kind, queue, state
UNION ALL
SELECT kind, queue, state, count(*) FROM jobs WHERE id IN (SELECT job_id FROM job_waits) AND state = 'scheduled' AND waits_for > 0
GROUP BY kind, queue, state

-- name: show
SELECT id, kind, queue, state, priority, attempt, max_attempts, args, NULL::jsonb AS result, errors, asset_id,
       repository_id, created_at, scheduled_at, attempted_at, finished_at, progress, unique_key, cause, tags,
       parent_id, group_id, worker_id,
       ARRAY(SELECT on_id FROM job_waits WHERE job_waits.job_id = jobs.id) AS waits_on
FROM jobs WHERE id = %(id)s::uuid
UNION ALL
SELECT id, kind, queue, state, priority, attempt, max_attempts, args, result, errors, asset_id,
       repository_id, created_at, scheduled_at, attempted_at, finished_at, NULL, unique_key, NULL, tags,
       parent_id, group_id, NULL, '{}'
FROM job_history WHERE id = %(id)s::uuid
LIMIT 1

-- name: running
-- what is done at this moment, the oldest first
SELECT id, kind, queue, priority, attempt, attempted_at, progress, repository_id, asset_id, worker_id
FROM jobs WHERE state = 'running' ORDER BY attempted_at, seq LIMIT %(count)s::int

-- name: open_of_kind
-- of a kind whose jobs have unique keys, which is how they are found
SELECT id, state, repository_id, progress FROM jobs
WHERE kind = %(kind)s::text AND unique_key IS NOT NULL AND state IN ('available', 'scheduled', 'running', 'retryable')
ORDER BY seq
