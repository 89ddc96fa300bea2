-- name: await_jobs
-- the end of these is waited for; the lock makes an end that is under way come before or after, never in between
UPDATE jobs SET awaited = true WHERE id = ANY (%(ids)s::uuid[]) RETURNING id, queue, state

-- name: await_groups
SELECT id FROM job_groups WHERE id = ANY (%(ids)s::uuid[]) ORDER BY id FOR KEY SHARE

-- name: cancelled_of
SELECT id FROM job_history WHERE id = ANY (%(ids)s::uuid[]) AND state = 'cancelled'

-- name: add_waits
INSERT INTO job_waits (on_id, job_id) SELECT * FROM unnest(%(on_ids)s::uuid[], %(job_ids)s::uuid[])

-- name: join_groups
INSERT INTO job_groups (id, open)
SELECT id, count(*) FROM unnest(%(ids)s::uuid[]) AS joined (id) GROUP BY id ORDER BY id
ON CONFLICT (id) DO UPDATE SET open = job_groups.open + excluded.open

-- name: lock_groups
SELECT id, open FROM job_groups WHERE id = ANY (%(ids)s::uuid[]) ORDER BY id FOR UPDATE

-- name: leave_groups
UPDATE job_groups SET open = job_groups.open - left_by.count
FROM (SELECT id, count(*) FROM unnest(%(ids)s::uuid[]) AS l (id) GROUP BY id) AS left_by
WHERE job_groups.id = left_by.id AND job_groups.open > left_by.count

-- name: end_groups
DELETE FROM job_groups WHERE id = ANY (%(ids)s::uuid[])

-- name: release_waiting
-- what these ends were waited for by: one less to wait for, and available after the last
WITH met AS (DELETE FROM job_waits WHERE on_id = ANY (%(ids)s::uuid[]) RETURNING job_id),
counted AS (SELECT job_id, count(*)::int AS count FROM met GROUP BY job_id)
UPDATE jobs SET
    waits_for = waits_for - counted.count,
    state = CASE WHEN state = 'scheduled' AND waits_for = counted.count AND scheduled_at <= now() THEN 'available'
                 ELSE state END
FROM counted WHERE jobs.id = counted.job_id
RETURNING queue, state, waits_for

-- name: wait_again
UPDATE jobs SET state = 'scheduled', waits_for = waiting.count
FROM unnest(%(ids)s::uuid[], %(counts)s::int[]) AS waiting (id, count)
WHERE jobs.id = waiting.id
