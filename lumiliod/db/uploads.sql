-- name: job_of
-- the open job, or the last one that ended
SELECT id FROM (
    SELECT id, state <> 'discarded' AS is_open FROM jobs
    WHERE kind = 'ingest' AND args ? 'owner' AND args ->> 'owner' = %(owner)s::text
      AND args ->> 'upload' = %(upload)s::text
    UNION ALL
    SELECT id, false FROM job_history
    WHERE kind = 'ingest' AND args ? 'upload' AND args ->> 'upload' = %(upload)s::text) AS known
ORDER BY is_open DESC, id DESC LIMIT 1

-- name: jobs_of
SELECT DISTINCT ON (upload) upload, id, is_open FROM (
    SELECT args ->> 'upload' AS upload, id, state <> 'discarded' AS is_open FROM jobs
    WHERE kind = 'ingest' AND args ? 'owner' AND args ->> 'upload' = ANY (%(uploads)s::text[])
    UNION ALL
    SELECT args ->> 'upload', id, false FROM job_history
    WHERE kind = 'ingest' AND args ? 'upload' AND args ->> 'upload' = ANY (%(uploads)s::text[])) AS known
ORDER BY upload, is_open DESC, id DESC

-- name: hold_discarded
SELECT id FROM jobs
WHERE kind = 'ingest' AND state IN ('retryable', 'discarded') AND state = 'discarded' AND args ? 'owner'
  AND args ->> 'upload' = %(upload)s::text
ORDER BY id FOR UPDATE

-- name: refused_alike
SELECT DISTINCT args ->> 'upload' FROM jobs
WHERE kind = 'ingest' AND state = 'discarded' AND args ? 'owner'
  AND args ->> 'owner' = %(owner)s::text AND args ->> 'digest' = %(digest)s::text
  AND repository_id = %(repository_id)s::uuid
ORDER BY 1

-- name: refused
-- what was discarded for its content, as contract/uploads.py tells it of one job
SELECT count(DISTINCT args ->> 'upload'), (array_agg(args ->> 'filename' ORDER BY id DESC))[1:%(names)s::int] FROM jobs
WHERE kind = 'ingest' AND state IN ('retryable', 'discarded') AND state = 'discarded' AND args ? 'owner'
  AND errors -> -1 ->> 'error_class' IN ('Permanent', 'Refused') AND errors -> -1 ->> 'code' <> 'staged_missing'
