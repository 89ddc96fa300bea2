-- name: page
-- newest first; the id is a UUIDv7, so its order is the order of creation
SELECT * FROM (
    (SELECT id, kind, queue, state, priority, attempt, max_attempts, args, NULL::jsonb AS result, errors, asset_id,
            repository_id, created_at, scheduled_at, attempted_at, finished_at, progress, unique_key, cause, tags,
            parent_id, group_id, worker_id,
            ARRAY(SELECT on_id FROM job_waits WHERE job_waits.job_id = jobs.id) AS waits_on
     FROM jobs
     WHERE (%(before)s::uuid IS NULL OR id < %(before)s::uuid)
       AND (%(state)s::text IS NULL OR state = %(state)s::text)
       AND (%(kind)s::text IS NULL OR kind = %(kind)s::text)
       AND (%(queue)s::text IS NULL OR queue = %(queue)s::text)
       AND (%(cause)s::text IS NULL OR (cause = %(cause)s::text AND state IN ('retryable', 'discarded')))
       AND (%(repository_id)s::uuid IS NULL OR repository_id = %(repository_id)s::uuid)
       AND (%(asset_id)s::uuid IS NULL OR asset_id = %(asset_id)s::uuid)
       AND (%(tag)s::text IS NULL OR %(tag)s::text = ANY (tags))
     ORDER BY id DESC LIMIT %(count)s::int)
    UNION ALL
    (SELECT id, kind, queue, state, priority, attempt, max_attempts, args, result, errors, asset_id,
            repository_id, created_at, scheduled_at, attempted_at, finished_at, NULL, unique_key, NULL, tags,
            parent_id, group_id, NULL, '{}'
     FROM job_history
     WHERE %(cause)s::text IS NULL
       AND (%(before)s::uuid IS NULL OR id < %(before)s::uuid)
       AND (%(state)s::text IS NULL OR state = %(state)s::text)
       AND (%(kind)s::text IS NULL OR kind = %(kind)s::text)
       AND (%(queue)s::text IS NULL OR queue = %(queue)s::text)
       AND (%(repository_id)s::uuid IS NULL OR repository_id = %(repository_id)s::uuid)
       AND (%(asset_id)s::uuid IS NULL OR asset_id = %(asset_id)s::uuid)
       AND (%(tag)s::text IS NULL OR %(tag)s::text = ANY (tags))
     ORDER BY id DESC LIMIT %(count)s::int)
) AS jobs ORDER BY id DESC LIMIT %(count)s::int

-- name: page_oldest
-- the same from the other end, and past an id
SELECT * FROM (
    (SELECT id, kind, queue, state, priority, attempt, max_attempts, args, NULL::jsonb AS result, errors, asset_id,
            repository_id, created_at, scheduled_at, attempted_at, finished_at, progress, unique_key, cause, tags,
            parent_id, group_id, worker_id,
            ARRAY(SELECT on_id FROM job_waits WHERE job_waits.job_id = jobs.id) AS waits_on
     FROM jobs
     WHERE (%(after)s::uuid IS NULL OR id > %(after)s::uuid)
       AND (%(state)s::text IS NULL OR state = %(state)s::text)
       AND (%(kind)s::text IS NULL OR kind = %(kind)s::text)
       AND (%(queue)s::text IS NULL OR queue = %(queue)s::text)
       AND (%(cause)s::text IS NULL OR (cause = %(cause)s::text AND state IN ('retryable', 'discarded')))
       AND (%(repository_id)s::uuid IS NULL OR repository_id = %(repository_id)s::uuid)
       AND (%(asset_id)s::uuid IS NULL OR asset_id = %(asset_id)s::uuid)
       AND (%(tag)s::text IS NULL OR %(tag)s::text = ANY (tags))
     ORDER BY id LIMIT %(count)s::int)
    UNION ALL
    (SELECT id, kind, queue, state, priority, attempt, max_attempts, args, result, errors, asset_id,
            repository_id, created_at, scheduled_at, attempted_at, finished_at, NULL, unique_key, NULL, tags,
            parent_id, group_id, NULL, '{}'
     FROM job_history
     WHERE %(cause)s::text IS NULL
       AND (%(after)s::uuid IS NULL OR id > %(after)s::uuid)
       AND (%(state)s::text IS NULL OR state = %(state)s::text)
       AND (%(kind)s::text IS NULL OR kind = %(kind)s::text)
       AND (%(queue)s::text IS NULL OR queue = %(queue)s::text)
       AND (%(repository_id)s::uuid IS NULL OR repository_id = %(repository_id)s::uuid)
       AND (%(asset_id)s::uuid IS NULL OR asset_id = %(asset_id)s::uuid)
       AND (%(tag)s::text IS NULL OR %(tag)s::text = ANY (tags))
     ORDER BY id LIMIT %(count)s::int)
) AS jobs ORDER BY id LIMIT %(count)s::int

-- name: ranked
-- Open jobs by something that has no index, one pass over the table for a page: an index more would cost every job,
-- and few people sort. Only ranks and ids are sorted, the rest is looked up for the page alone.
WITH picked AS MATERIALIZED (
    SELECT rank, id FROM (
        SELECT id, CASE %(by)s::text
                       WHEN 'kind' THEN kind WHEN 'queue' THEN queue WHEN 'state' THEN state
                       WHEN 'cause' THEN coalesce(cause, '')
                       WHEN 'priority' THEN priority::text
                       WHEN 'attempt' THEN lpad(attempt::text, 5, '0')
                       WHEN 'scheduled' THEN to_char(scheduled_at AT TIME ZONE 'UTC', 'YYYYMMDDHH24MISS.US')
                   END COLLATE "C" AS rank
        FROM jobs
        WHERE (%(state)s::text IS NULL OR state = %(state)s::text)
      AND (%(kind)s::text IS NULL OR kind = %(kind)s::text)
      AND (%(queue)s::text IS NULL OR queue = %(queue)s::text)
      AND (%(cause)s::text IS NULL OR (cause = %(cause)s::text AND state IN ('retryable', 'discarded')))
      AND (%(repository_id)s::uuid IS NULL OR repository_id = %(repository_id)s::uuid)
      AND (%(asset_id)s::uuid IS NULL OR asset_id = %(asset_id)s::uuid)
      AND (%(tag)s::text IS NULL OR %(tag)s::text = ANY (tags))
    ) AS ranked
    WHERE %(id)s::uuid IS NULL OR (rank, id) > (%(rank)s::text COLLATE "C", %(id)s::uuid)
    ORDER BY rank, id LIMIT %(count)s::int)
SELECT jobs.id, kind, queue, state, priority, attempt, max_attempts, args, NULL::jsonb AS result, errors, asset_id,
       repository_id, created_at, scheduled_at, attempted_at, finished_at, progress, unique_key, cause, tags,
       parent_id, group_id, worker_id,
       ARRAY(SELECT on_id FROM job_waits WHERE job_waits.job_id = jobs.id) AS waits_on, picked.rank
FROM picked JOIN jobs USING (id) ORDER BY picked.rank, picked.id

-- name: ranked_back
-- the same from the other end
WITH picked AS MATERIALIZED (
    SELECT rank, id FROM (
        SELECT id, CASE %(by)s::text
                       WHEN 'kind' THEN kind WHEN 'queue' THEN queue WHEN 'state' THEN state
                       WHEN 'cause' THEN coalesce(cause, '')
                       WHEN 'priority' THEN priority::text
                       WHEN 'attempt' THEN lpad(attempt::text, 5, '0')
                       WHEN 'scheduled' THEN to_char(scheduled_at AT TIME ZONE 'UTC', 'YYYYMMDDHH24MISS.US')
                   END COLLATE "C" AS rank
        FROM jobs
        WHERE (%(state)s::text IS NULL OR state = %(state)s::text)
      AND (%(kind)s::text IS NULL OR kind = %(kind)s::text)
      AND (%(queue)s::text IS NULL OR queue = %(queue)s::text)
      AND (%(cause)s::text IS NULL OR (cause = %(cause)s::text AND state IN ('retryable', 'discarded')))
      AND (%(repository_id)s::uuid IS NULL OR repository_id = %(repository_id)s::uuid)
      AND (%(asset_id)s::uuid IS NULL OR asset_id = %(asset_id)s::uuid)
      AND (%(tag)s::text IS NULL OR %(tag)s::text = ANY (tags))
    ) AS ranked
    WHERE %(id)s::uuid IS NULL OR (rank, id) < (%(rank)s::text COLLATE "C", %(id)s::uuid)
    ORDER BY rank DESC, id DESC LIMIT %(count)s::int)
SELECT jobs.id, kind, queue, state, priority, attempt, max_attempts, args, NULL::jsonb AS result, errors, asset_id,
       repository_id, created_at, scheduled_at, attempted_at, finished_at, progress, unique_key, cause, tags,
       parent_id, group_id, worker_id,
       ARRAY(SELECT on_id FROM job_waits WHERE job_waits.job_id = jobs.id) AS waits_on, picked.rank
FROM picked JOIN jobs USING (id) ORDER BY picked.rank DESC, picked.id DESC

-- name: about
-- what jobs are about, for people: the path of a file that is to be looked at, or of an asset's original
SELECT j.id, coalesce(f.path, af.path) AS path, a.original_filename
FROM unnest(%(ids)s::uuid[], %(assets)s::uuid[], %(files)s::uuid[]) AS j (id, asset_id, file_id)
LEFT JOIN file_records f ON f.id = j.file_id
LEFT JOIN file_records af ON af.asset_id = j.asset_id AND af.outcome = 'asset'
LEFT JOIN assets a ON a.id = j.asset_id
WHERE coalesce(f.path, af.path) IS NOT NULL OR a.original_filename IS NOT NULL
