-- name: begin_run
-- a job that comes again goes on with what it began
INSERT INTO integrity_runs (id, job_id, kind, mirror_id, budget_bytes)
VALUES (%(id)s, %(job_id)s, %(kind)s, %(mirror_id)s, %(budget_bytes)s)
ON CONFLICT ON CONSTRAINT integrity_runs_of_job DO UPDATE SET finished_at = NULL
RETURNING id, job_id, kind, mirror_id, budget_bytes, files, read_bytes, found, unstable, walked, started_at

-- name: run_of_job
SELECT id, job_id, kind, mirror_id, budget_bytes, files, read_bytes, found, unstable, walked, started_at
FROM integrity_runs WHERE job_id = %(job_id)s::uuid AND mirror_id IS NOT DISTINCT FROM %(mirror_id)s::uuid

-- name: last_scrub
-- what an earlier job left of its budget (or overdrew), and how long ago it began
SELECT budget_bytes - read_bytes, extract(epoch FROM now() - started_at)::float8
FROM integrity_runs
WHERE kind = 'scrub' AND mirror_id IS NOT DISTINCT FROM %(mirror_id)s::uuid AND job_id <> %(job_id)s::uuid
ORDER BY started_at DESC LIMIT 1

-- name: count
UPDATE integrity_runs SET files = files + 1, read_bytes = read_bytes + %(read_bytes)s::bigint,
    read_s = read_s + %(read_s)s::float8, found = found + %(found)s::int, unstable = unstable + %(unstable)s::int
WHERE id = %(id)s::uuid

-- name: count_found
UPDATE integrity_runs SET found = found + %(found)s::int, walked = walked OR %(walked)s::boolean
WHERE id = %(id)s::uuid

-- name: end_run
UPDATE integrity_runs SET finished_at = now() WHERE id = %(id)s::uuid

-- name: forget_runs
DELETE FROM integrity_runs WHERE started_at < now() - make_interval(days => %(days)s::int)

-- name: speed
-- bytes a second of the last passes that read something, and when the last one began
SELECT sum(read_bytes) / nullif(sum(read_s), 0), max(started_at) FROM (
    SELECT read_bytes, read_s, started_at FROM integrity_runs
    WHERE mirror_id IS NULL AND read_bytes > 0 ORDER BY started_at DESC LIMIT 7) AS last
