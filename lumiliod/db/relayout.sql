-- name: inbox
-- every file of an inbox, originals first: a further copy goes where its original went
SELECT f.id, f.path, f.outcome, f.size_bytes, f.missing_since IS NOT NULL AS is_missing, f.asset_id,
       encode(f.digest, 'hex') AS digest, a.original_filename, a.mime_type, a.taken_at_local
FROM file_records f LEFT JOIN assets a ON a.id = f.asset_id
WHERE f.repository_id = %(repository_id)s::uuid AND f.path >= 'inbox/'::bytea AND f.path < 'inbox0'::bytea
ORDER BY f.outcome <> 'asset', f.path

-- name: staying
-- what no layout touches: files of the user area with their bytes, and files in the trash
SELECT count(*), coalesce(sum(size_bytes), 0)::bigint,
       (SELECT count(*) FROM trash_files t WHERE t.repository_id = %(repository_id)s::uuid)
FROM file_records
WHERE repository_id = %(repository_id)s::uuid AND missing_since IS NULL
  AND NOT (path >= 'inbox/'::bytea AND path < 'inbox0'::bytea)

-- name: get
SELECT id, repository_id, from_strategy, to_strategy, state, verify, job_id, halted, created_at, finished_at
FROM relayouts WHERE id = %(id)s::uuid

-- name: latest
-- the one that can be gone on with or undone; else the last
SELECT id, repository_id, from_strategy, to_strategy, state, verify, job_id, halted, created_at, finished_at
FROM relayouts WHERE repository_id = %(repository_id)s::uuid
ORDER BY state = 'undone', id DESC LIMIT 1

-- name: go_on
UPDATE relayouts SET state = %(state)s::text, job_id = %(job_id)s::uuid, halted = false, finished_at = NULL,
    verify = verify OR %(verify)s::boolean
WHERE id = %(id)s::uuid

-- name: halt
-- what a person cancelled goes on only when a person wants it
UPDATE relayouts SET halted = true
WHERE state IN ('running', 'undoing') AND NOT halted
  AND EXISTS (SELECT 1 FROM job_history h WHERE h.id = relayouts.job_id AND h.state = 'cancelled')

-- name: without_job
-- missing work is a query: re-layouts that are not at their end and that no job does
SELECT r.id, r.repository_id FROM relayouts r
WHERE r.state IN ('running', 'undoing') AND NOT r.halted AND r.id > %(after)s::uuid
  AND NOT EXISTS (SELECT 1 FROM jobs j WHERE j.kind = 'relayout' AND j.unique_key = r.repository_id::text
                    AND j.state IN ('available', 'scheduled', 'running', 'retryable'))
ORDER BY r.id LIMIT %(count)s::int

-- name: set_job
UPDATE relayouts SET job_id = %(job_id)s::uuid WHERE id = %(id)s::uuid

-- name: set_strategy
UPDATE repositories SET storage_strategy = %(strategy)s::text WHERE id = %(id)s::uuid

-- name: lock_relayout
SELECT state FROM relayouts WHERE id = %(id)s::uuid FOR SHARE

-- name: finish
UPDATE relayouts SET state = %(state)s::text, finished_at = now() WHERE id = %(id)s::uuid
