-- name: abandon
-- runs that a killed daemon left open; that of a folder says nothing of one of everything
UPDATE sync_operations SET status = 'failed', error = 'the daemon stopped during this run', finished_at = now()
WHERE repository_id = %(repository_id)s::uuid AND status = 'running' AND (scope = 'full') = (%(scope)s::text = 'full')

-- name: begin
INSERT INTO sync_operations (id, repository_id, type, scope, folder, job_id, status)
VALUES (%(id)s, %(repository_id)s, %(type)s, %(scope)s, %(folder)s, %(job_id)s, 'running')

-- name: end
UPDATE sync_operations SET status = %(status)s::text, found = %(found)s, added = %(added)s, changed = %(changed)s,
    moved = %(moved)s, missing = %(missing)s, ignored = %(ignored)s, error = %(error)s::text, note = %(note)s::text,
    finished_at = now()
WHERE id = %(id)s::uuid
RETURNING repository_id

-- name: forget_idle
-- of the runs that events caused and that found nothing to write, the last one is enough
DELETE FROM sync_operations o
WHERE o.repository_id = %(repository_id)s::uuid AND o.type = 'realtime' AND o.status = 'completed' AND o.note IS NULL
  AND o.added + o.changed + o.moved + o.missing = 0
  AND o.id <> (SELECT n.id FROM sync_operations n
               WHERE n.repository_id = %(repository_id)s::uuid AND n.type = 'realtime' AND n.status = 'completed'
                 AND n.note IS NULL AND n.added + n.changed + n.moved + n.missing = 0
               ORDER BY n.id DESC LIMIT 1)

-- name: forget_old
-- so many runs and so many days, whichever is less; the last one of everything says when that was
DELETE FROM sync_operations o
WHERE o.repository_id = %(repository_id)s::uuid AND o.status <> 'running'
  AND (o.started_at < now() - make_interval(days => %(days)s::int)
       OR o.id < (SELECT k.id FROM sync_operations k WHERE k.repository_id = %(repository_id)s::uuid
                  ORDER BY k.id DESC OFFSET %(count)s::int - 1 LIMIT 1))
  AND o.id IS DISTINCT FROM (SELECT f.id FROM sync_operations f
                             WHERE f.repository_id = %(repository_id)s::uuid AND f.scope = 'full'
                               AND f.status <> 'running' ORDER BY f.id DESC LIMIT 1)

-- name: last_full_s
SELECT extract(epoch FROM finished_at - started_at)::float8 FROM sync_operations
WHERE repository_id = %(repository_id)s::uuid AND scope = 'full' AND finished_at IS NOT NULL ORDER BY id DESC LIMIT 1

-- name: unscanned
SELECT r.id FROM repositories r
WHERE r.id > %(after)s::uuid
  AND coalesce((SELECT s.status FROM sync_operations s WHERE s.repository_id = r.id AND s.scope = 'full'
                ORDER BY s.id DESC LIMIT 1), 'running') = 'running'
  AND NOT EXISTS (SELECT 1 FROM jobs j WHERE j.kind = 'scan' AND j.unique_key = 'repository:' || r.id::text
                    AND j.state IN ('available', 'scheduled', 'running', 'retryable'))
ORDER BY r.id LIMIT %(count)s::int

-- name: page
-- the newest first
SELECT id, repository_id, type, scope, folder, status, found, added, changed, moved, missing, ignored, error, note,
       job_id, started_at, finished_at
FROM sync_operations
WHERE (%(repository_id)s::uuid IS NULL OR repository_id = %(repository_id)s::uuid)
  AND (%(type)s::text IS NULL OR type = %(type)s::text) AND (%(status)s::text IS NULL OR status = %(status)s::text)
  AND (%(before)s::uuid IS NULL OR id < %(before)s::uuid)
ORDER BY id DESC LIMIT %(count)s::int

-- name: one
SELECT id, repository_id, type, scope, folder, status, found, added, changed, moved, missing, ignored, error, note,
       job_id, started_at, finished_at
FROM sync_operations WHERE id = %(id)s::uuid

-- name: last_of_everything
-- of each repository the last run of everything that has ended
SELECT s.id, s.repository_id, s.type, s.scope, s.folder, s.status, s.found, s.added, s.changed, s.moved, s.missing,
       s.ignored, s.error, s.note, s.job_id, s.started_at, s.finished_at
FROM repositories r
CROSS JOIN LATERAL (SELECT * FROM sync_operations o
                    WHERE o.repository_id = r.id AND o.scope = 'full' AND o.status <> 'running'
                    ORDER BY o.id DESC LIMIT 1) AS s

-- name: open_scans
-- scans, and plans of scans, that wait or run, the oldest first
SELECT id, kind, state, repository_id, progress, args FROM jobs
WHERE kind IN ('scan', 'plan') AND unique_key IS NOT NULL
  AND state IN ('available', 'scheduled', 'running', 'retryable')
ORDER BY seq LIMIT %(count)s::int

-- name: is_known
-- whether a folder is one of any file that was there
SELECT EXISTS (SELECT 1 FROM file_records
               WHERE repository_id = %(repository_id)s::uuid AND path > %(after)s::bytea AND path < %(until)s::bytea)
