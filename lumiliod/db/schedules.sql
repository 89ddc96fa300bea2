-- name: now
SELECT now()

-- name: declare
-- what a schedule enqueues is the code's to say; its timing is given to new ones only (see retime)
INSERT INTO job_schedules (name, kind, queue, args, priority, max_attempts, unique_key, repository_id,
                           cron, every_s, time_zone, jitter_s, slot_at, next_at)
SELECT s.name, s.kind, s.queue, s.args, s.priority, s.max_attempts, s.unique_key, s.repository_id,
       s.cron, s.every_s, s.time_zone, s.jitter_s, s.slot_at, s.next_at
FROM jsonb_to_recordset(%(schedules)s::jsonb) AS s (
    name text, kind text, queue text, args jsonb, priority smallint, max_attempts smallint, unique_key text,
    repository_id uuid, cron text, every_s integer, time_zone text, jitter_s integer, slot_at timestamptz,
    next_at timestamptz)
ON CONFLICT (name) DO UPDATE
SET (kind, queue, args, priority, max_attempts, unique_key, repository_id)
  = (excluded.kind, excluded.queue, excluded.args, excluded.priority, excluded.max_attempts, excluded.unique_key,
     excluded.repository_id)
WHERE (job_schedules.kind, job_schedules.queue, job_schedules.args, job_schedules.priority,
       job_schedules.max_attempts, job_schedules.unique_key, job_schedules.repository_id)
  IS DISTINCT FROM
      (excluded.kind, excluded.queue, excluded.args, excluded.priority, excluded.max_attempts, excluded.unique_key,
       excluded.repository_id)

-- name: retime
-- Where the code's timing is another now, and no person chose one. A slot further off than the timing
-- can give was made while the clock was far ahead.
UPDATE job_schedules
SET (cron, every_s, time_zone, jitter_s, slot_at, next_at)
  = (s.cron, s.every_s, s.time_zone, s.jitter_s, s.slot_at, s.next_at)
FROM jsonb_to_recordset(%(schedules)s::jsonb) AS s (
    name text, cron text, every_s integer, time_zone text, jitter_s integer, slot_at timestamptz,
    next_at timestamptz)
WHERE job_schedules.name = s.name AND changed_at IS NULL
  AND ((job_schedules.cron, job_schedules.every_s, job_schedules.time_zone, job_schedules.jitter_s)
           IS DISTINCT FROM (s.cron, s.every_s, s.time_zone, s.jitter_s)
       OR job_schedules.slot_at > s.slot_at + interval '1 day')

-- name: undeclare
DELETE FROM job_schedules
WHERE starts_with(name, %(prefix)s::text) AND name <> ALL (%(keep)s::text[])
RETURNING name

-- name: due
-- rows that another process fires at this moment are its own
SELECT name, kind, queue, args, priority, max_attempts, unique_key, repository_id, cron, every_s, time_zone,
       jitter_s, slot_at, next_at, last_fire_at, last_job_id, paused_at, changed_at, created_at
FROM job_schedules
WHERE paused_at IS NULL AND next_at <= now()
ORDER BY next_at
LIMIT 1000
FOR UPDATE SKIP LOCKED

-- name: next_due
SELECT extract(epoch FROM min(next_at) - now())::float8 FROM job_schedules WHERE paused_at IS NULL

-- name: fire
-- what does not come back has fired before
INSERT INTO job_fires (schedule, fire_at)
SELECT f.name, f.fire_at FROM unnest(%(names)s::text[], %(slots)s::timestamptz[]) AS f (name, fire_at)
ON CONFLICT DO NOTHING
RETURNING schedule

-- name: note_jobs
UPDATE job_fires SET job_id = f.job_id
FROM unnest(%(names)s::text[], %(slots)s::timestamptz[], %(job_ids)s::uuid[]) AS f (name, fire_at, job_id)
WHERE job_fires.schedule = f.name AND job_fires.fire_at = f.fire_at

-- name: note_last
UPDATE job_schedules SET last_fire_at = now(), last_job_id = f.job_id
FROM unnest(%(names)s::text[], %(job_ids)s::uuid[]) AS f (name, job_id)
WHERE job_schedules.name = f.name

-- name: advance
UPDATE job_schedules SET slot_at = n.slot_at, next_at = n.next_at
FROM unnest(%(names)s::text[], %(slots)s::timestamptz[], %(fires)s::timestamptz[]) AS n (name, slot_at, next_at)
WHERE job_schedules.name = n.name

-- name: forget_fires
-- all but the latest of each
DELETE FROM job_fires
USING unnest(%(names)s::text[]) AS s (name), LATERAL (
    SELECT fires.fire_at FROM job_fires AS fires
    WHERE fires.schedule = s.name
    ORDER BY fires.fire_at DESC OFFSET %(keep)s::int LIMIT 1) AS latest
WHERE job_fires.schedule = s.name AND job_fires.fire_at <= latest.fire_at

-- name: listed
-- all, or the one of a name
SELECT name, kind, queue, args, priority, max_attempts, unique_key, repository_id, cron, every_s, time_zone,
       jitter_s, slot_at, next_at, last_fire_at, last_job_id, paused_at, changed_at, created_at
FROM job_schedules
WHERE %(name)s::text IS NULL OR name = %(name)s::text
ORDER BY name

-- name: take
-- to change it: whoever fires it passes it over until then
SELECT name, kind, queue, args, priority, max_attempts, unique_key, repository_id, cron, every_s, time_zone,
       jitter_s, slot_at, next_at, last_fire_at, last_job_id, paused_at, changed_at, created_at
FROM job_schedules
WHERE name = %(name)s::text
FOR UPDATE

-- name: set_timing
UPDATE job_schedules
SET cron = %(cron)s::text, every_s = %(every_s)s::integer, time_zone = %(time_zone)s::text,
    jitter_s = %(jitter_s)s::integer, slot_at = %(slot_at)s::timestamptz, next_at = %(next_at)s::timestamptz,
    changed_at = now()
WHERE name = %(name)s::text

-- name: set_paused
UPDATE job_schedules SET paused_at = CASE WHEN %(paused)s::boolean THEN coalesce(paused_at, now()) END
WHERE name = %(name)s::text
