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
