-- name: list
SELECT name, paused_at, concurrency, quiet_from, quiet_until, quiet_zone FROM job_queues ORDER BY name

-- name: pause
INSERT INTO job_queues (name, paused_at) VALUES (%(name)s::text, now())
ON CONFLICT (name) DO UPDATE SET paused_at = coalesce(job_queues.paused_at, now()), updated_at = now()

-- name: resume
UPDATE job_queues SET paused_at = NULL, updated_at = now()
WHERE name = %(name)s::text AND paused_at IS NOT NULL

-- name: set_concurrency
INSERT INTO job_queues (name, concurrency) VALUES (%(name)s::text, %(concurrency)s::smallint)
ON CONFLICT (name) DO UPDATE SET concurrency = excluded.concurrency, updated_at = now()

-- name: set_quiet
INSERT INTO job_queues (name, quiet_from, quiet_until, quiet_zone)
VALUES (%(name)s::text, %(quiet_from)s::time, %(quiet_until)s::time, %(quiet_zone)s::text)
ON CONFLICT (name) DO UPDATE SET quiet_from = excluded.quiet_from, quiet_until = excluded.quiet_until,
                                 quiet_zone = excluded.quiet_zone, updated_at = now()
