-- name: held
SELECT repository_id, plan_id, state, files, known, basis, since, decided_at, approved_at_generation
FROM held_deletions WHERE %(repository_id)s::uuid IS NULL OR repository_id = %(repository_id)s::uuid
ORDER BY since

-- name: lock
-- whoever concludes a scan, or decides, holds the repository's row first
SELECT scan_generation FROM repositories WHERE id = %(repository_id)s::uuid FOR NO KEY UPDATE

-- name: returned
-- What is held where a scan was and that it has met again, or that others have seen to. name_at: only the files of a
-- folder itself, whose names begin there; 0: all.
DELETE FROM held_files h
USING file_records f
WHERE h.repository_id = %(repository_id)s::uuid AND f.id = h.file_id
  AND f.repository_id = %(repository_id)s::uuid AND f.path > %(after)s::bytea AND f.path <= %(until)s::bytea
  AND (%(name_at)s::int = 0 OR position('/'::bytea IN substring(f.path FROM %(name_at)s::int)) = 0)
  AND (f.missing_since IS NOT NULL
       OR NOT EXISTS (SELECT 1 FROM scan_absences a
                      WHERE a.repository_id = %(repository_id)s::uuid AND a.generation = %(generation)s::bigint
                        AND a.file_id = f.id AND a.updated_at = f.updated_at))

-- name: forgotten
-- what is held and has no record any more
DELETE FROM held_files h
WHERE h.repository_id = %(repository_id)s::uuid
  AND NOT EXISTS (SELECT 1 FROM file_records f WHERE f.id = h.file_id)

-- name: recount
UPDATE held_deletions SET files = h.files
FROM (SELECT count(*) AS files FROM held_files WHERE repository_id = %(repository_id)s::uuid) AS h
WHERE repository_id = %(repository_id)s::uuid AND h.files > 0
RETURNING h.files

-- name: count_held_absent
-- how much of what a scan has not met is held already
SELECT count(*) FROM scan_absences a
JOIN held_files h ON h.repository_id = a.repository_id AND h.file_id = a.file_id
JOIN file_records f ON f.id = a.file_id AND f.updated_at = a.updated_at
WHERE a.repository_id = %(repository_id)s::uuid AND a.generation = %(generation)s::bigint AND NOT a.is_unread
  AND f.missing_since IS NULL AND f.scan_generation < %(generation)s::bigint

-- name: hold
-- since when a person is asked stays as long as nothing is decided
INSERT INTO held_deletions AS h (repository_id, plan_id, state, files, known, basis)
VALUES (%(repository_id)s, %(plan_id)s, 'held', %(files)s, %(known)s, %(known)s)
ON CONFLICT (repository_id) DO UPDATE SET
    plan_id = excluded.plan_id, state = 'held', known = excluded.known, basis = least(h.basis, excluded.basis),
    since = CASE WHEN h.state = 'held' THEN h.since ELSE now() END, decided_at = NULL, approved_at_generation = NULL

-- name: hold_files
INSERT INTO held_files (repository_id, file_id)
SELECT a.repository_id, a.file_id FROM scan_absences a
JOIN file_records f ON f.id = a.file_id AND f.updated_at = a.updated_at
WHERE a.repository_id = %(repository_id)s::uuid AND a.generation = %(generation)s::bigint AND NOT a.is_unread
  AND f.missing_since IS NULL AND f.scan_generation < %(generation)s::bigint
ON CONFLICT DO NOTHING

-- name: spare
-- what is held is none of a scan's to mark
DELETE FROM scan_absences a USING held_files h
WHERE a.repository_id = %(repository_id)s::uuid AND a.generation = %(generation)s::bigint
  AND h.repository_id = a.repository_id AND h.file_id = a.file_id

-- name: let_go
WITH files AS (DELETE FROM held_files WHERE repository_id = %(repository_id)s::uuid)
DELETE FROM held_deletions WHERE repository_id = %(repository_id)s::uuid

-- name: sweep
-- what a repository that was removed has left
DELETE FROM held_files h WHERE NOT EXISTS (SELECT 1 FROM held_deletions d WHERE d.repository_id = h.repository_id)

-- name: decide
UPDATE held_deletions SET state = %(state)s::text, decided_at = now(), approved_at_generation = %(generation)s::bigint
WHERE repository_id = %(repository_id)s::uuid

-- name: paths
SELECT f.path FROM held_files h JOIN file_records f ON f.id = h.file_id
WHERE h.repository_id = %(repository_id)s::uuid AND f.path > %(after)s::bytea
ORDER BY f.path LIMIT %(count)s::int

-- name: undecided
SELECT repository_id FROM held_deletions WHERE state = 'held'
