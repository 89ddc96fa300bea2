-- name: forget
DELETE FROM sync_plans WHERE repository_id = %(repository_id)s::uuid

-- name: sweep
DELETE FROM sync_plan_entries e WHERE NOT EXISTS (SELECT 1 FROM sync_plans p WHERE p.id = e.plan_id)

-- name: begin
INSERT INTO sync_plans (id, repository_id, scope, folder) VALUES (%(id)s, %(repository_id)s, %(scope)s, %(folder)s)

-- name: compare
-- What merge of scans.sql would do with one stretch, told and not done. Names that decide by themselves make no work.
WITH walked AS MATERIALIZED (
    SELECT w.path, w.size_bytes, w.mtime_ns, w.inode, f.id AS record_id, f.missing_since IS NOT NULL AS is_back,
           l.path IS NOT NULL AS is_left_out,
           ((f.size_bytes, f.mtime_ns) IS DISTINCT FROM (w.size_bytes, w.mtime_ns)
            OR (%(keeps_inodes)s::bool AND f.inode <> w.inode)
            OR f.ctime_ns <> w.ctime_ns OR f.outcome IN ('ignored', 'unreadable', 'too_large')) IS TRUE AS is_anew
    FROM unnest(%(paths)s::bytea[], %(sizes)s::bigint[], %(mtimes)s::bigint[], %(inodes)s::bigint[],
                %(ctimes)s::bigint[]) AS w (path, size_bytes, mtime_ns, inode, ctime_ns)
    LEFT JOIN unnest(%(left_out)s::bytea[]) AS l (path) ON l.path = w.path
    LEFT JOIN file_records f ON f.repository_id = %(repository_id)s::uuid AND f.path = w.path
                            AND f.path > %(after)s::bytea AND f.path <= %(until)s::bytea),
told AS (
    INSERT INTO sync_plan_entries AS e (plan_id, path, action, file_id, size_bytes, mtime_ns, inode)
    SELECT %(plan_id)s::uuid, w.path,
           CASE WHEN w.record_id IS NULL THEN 'added' WHEN w.is_anew THEN 'updated' ELSE 'returned' END,
           w.record_id, w.size_bytes, w.mtime_ns, w.inode
    FROM walked w WHERE NOT w.is_left_out AND (w.record_id IS NULL OR w.is_anew OR w.is_back)
    -- what an earlier page has made way to there is looked at
    ON CONFLICT (plan_id, path) DO UPDATE SET action = 'updated', size_bytes = excluded.size_bytes,
        mtime_ns = excluded.mtime_ns, inode = excluded.inode WHERE e.action = 'retired')
SELECT count(*) FROM walked WHERE record_id IS NOT NULL AND NOT is_back

-- name: step
-- where a stretch with very many records is to be divided
SELECT path FROM file_records
WHERE repository_id = %(repository_id)s::uuid AND path > %(after)s::bytea AND path <= %(until)s::bytea
ORDER BY path OFFSET %(count)s::int LIMIT 1

-- name: note_absent
INSERT INTO sync_plan_entries (plan_id, path, action, file_id, size_bytes, mtime_ns, inode)
SELECT %(plan_id)s::uuid, f.path, 'retired', f.id, f.size_bytes, f.mtime_ns, f.inode FROM file_records f
WHERE f.repository_id = %(repository_id)s::uuid AND f.path > %(after)s::bytea AND f.path <= %(until)s::bytea
  AND f.missing_since IS NULL
  AND (%(name_at)s::int = 0 OR position('/'::bytea IN substring(f.path FROM %(name_at)s::int)) = 0)
  AND f.path NOT IN (SELECT unnest(%(paths)s::bytea[]))
ON CONFLICT DO NOTHING

-- name: forget_unread
-- of what lies below a folder that could not be read nothing is known
DELETE FROM sync_plan_entries e USING unnest(%(above)s::bytea[], %(behind)s::bytea[]) AS u (above, behind)
WHERE e.plan_id = %(plan_id)s::uuid AND e.path > u.above AND e.path < u.behind AND e.action = 'retired'

-- name: movable
-- records that no earlier page has followed
SELECT m.id FROM unnest(%(ids)s::uuid[]) AS m (id)
WHERE NOT EXISTS (SELECT 1 FROM sync_plan_entries e
                  WHERE e.plan_id = %(plan_id)s::uuid AND e.file_id = m.id AND e.action = 'moved')

-- name: occupied
-- which records are at places by this plan, and whether they may make way, as in_the_way of moves.sql tells
WITH here AS (
    SELECT f.id, f.path AS place FROM file_records f
    WHERE f.repository_id = %(repository_id)s::uuid AND f.path = ANY (%(paths)s::bytea[])
      AND NOT EXISTS (SELECT 1 FROM sync_plan_entries e
                      WHERE e.plan_id = %(plan_id)s::uuid AND e.file_id = f.id AND (e.action = 'moved' OR e.path <> f.path))
    UNION ALL
    SELECT e.file_id, e.path FROM sync_plan_entries e JOIN file_records f ON f.id = e.file_id
    WHERE e.plan_id = %(plan_id)s::uuid AND e.path = ANY (%(paths)s::bytea[]) AND e.action <> 'moved' AND e.path <> f.path
      AND NOT EXISTS (SELECT 1 FROM sync_plan_entries n
                      WHERE n.plan_id = %(plan_id)s::uuid AND n.file_id = e.file_id AND n.action = 'moved'))
SELECT h.place, f.outcome <> 'trashed' AND NOT EXISTS (SELECT 1 FROM findings n WHERE n.file_id = f.id AND n.state = 'open'),
       f.id, f.asset_id, f.path, f.inode, f.size_bytes, f.mtime_ns, f.outcome IN ('asset', 'duplicate')
FROM here h JOIN file_records f ON f.id = h.id

-- name: move
UPDATE sync_plan_entries e SET action = 'moved', from_path = m.before, file_id = m.id
FROM unnest(%(ids)s::uuid[], %(before)s::bytea[], %(paths)s::bytea[]) AS m (id, before, path)
WHERE e.plan_id = %(plan_id)s::uuid AND e.path = m.path

-- name: make_way
-- What lies where these were is another's file: they go to where the first of those was that follow each other there. Where
-- their file lies there, that is a move; else a page that comes by there says what it is, and if none does, nothing is known
-- of a place where something lies.
INSERT INTO sync_plan_entries AS e (plan_id, path, action, from_path, file_id, size_bytes, mtime_ns, inode, is_taken)
SELECT %(plan_id)s::uuid, p.place, CASE WHEN p.is_home THEN 'moved' ELSE 'retired' END,
       CASE WHEN p.is_home THEN f.path END, f.id, f.size_bytes, f.mtime_ns, f.inode, p.is_taken
FROM (SELECT m.id, coalesce(l.path, m.before) AS place, m.is_home AND coalesce(l.path = m.before, true) AS is_home,
             CASE WHEN l.path <> m.before THEN l.is_taken ELSE m.is_taken END AS is_taken
      FROM unnest(%(ids)s::uuid[], %(firsts)s::uuid[], %(paths)s::bytea[], %(are_home)s::bool[], %(are_taken)s::bool[])
          AS m (id, first, before, is_home, is_taken)
      LEFT JOIN LATERAL (SELECT path, is_taken FROM sync_plan_entries
                         WHERE plan_id = %(plan_id)s::uuid AND file_id = m.first AND action <> 'moved'
                         ORDER BY path <> m.before DESC LIMIT 1) AS l ON true) AS p
JOIN file_records f ON f.id = p.id
ON CONFLICT (plan_id, path) DO UPDATE SET file_id = excluded.file_id, is_taken = excluded.is_taken,
    action = CASE WHEN excluded.action = 'moved' THEN 'moved' ELSE e.action END, from_path = excluded.from_path
    WHERE e.action <> 'moved'

-- name: take_over
-- a file that lies where one that moved was is a new one: the record it was compared with has gone with the other
UPDATE sync_plan_entries e SET action = 'added', file_id = NULL
FROM sync_plan_entries m
WHERE e.plan_id = %(plan_id)s::uuid AND e.action IN ('updated', 'returned')
  AND m.plan_id = %(plan_id)s::uuid AND m.file_id = e.file_id AND m.action = 'moved'

-- name: forget_left
-- what was moved is not missing where it was
DELETE FROM sync_plan_entries e
USING sync_plan_entries m
WHERE e.plan_id = %(plan_id)s::uuid AND e.action = 'retired'
  AND m.plan_id = %(plan_id)s::uuid AND m.file_id = e.file_id AND m.action = 'moved'

-- name: forget_taken
-- of what made way to a place where something lies that no page came by, nothing is known
DELETE FROM sync_plan_entries WHERE plan_id = %(plan_id)s::uuid AND action = 'retired' AND is_taken

-- name: count_retired
-- all of them, and those that nothing holds yet
SELECT count(*), count(*) FILTER (WHERE h.file_id IS NULL)
FROM sync_plan_entries e
LEFT JOIN held_files h ON h.repository_id = %(repository_id)s::uuid AND h.file_id = e.file_id
WHERE e.plan_id = %(plan_id)s::uuid AND e.action = 'retired'

-- name: spare_held
DELETE FROM sync_plan_entries e USING held_files h
WHERE e.plan_id = %(plan_id)s::uuid AND e.action = 'retired'
  AND h.repository_id = %(repository_id)s::uuid AND h.file_id = e.file_id

-- name: finish
UPDATE sync_plans SET found = %(found)s, ignored = %(ignored)s, would_hold = %(would_hold)s, note = %(note)s::text,
    added = c.added, updated = c.updated, moved = c.moved, returned = c.returned, retired = c.retired,
    finished_at = now()
FROM (SELECT count(*) FILTER (WHERE action = 'added') AS added, count(*) FILTER (WHERE action = 'updated') AS updated,
             count(*) FILTER (WHERE action = 'moved') AS moved, count(*) FILTER (WHERE action = 'returned') AS returned,
             count(*) FILTER (WHERE action = 'retired') AS retired
      FROM sync_plan_entries WHERE plan_id = %(id)s::uuid) AS c
WHERE id = %(id)s::uuid

-- name: plan
SELECT id, repository_id, scope, folder, found, ignored, added, updated, moved, returned, retired, would_hold, note,
       started_at, finished_at
FROM sync_plans WHERE id = %(id)s::uuid

-- name: entries
SELECT action, path, from_path, size_bytes FROM sync_plan_entries
WHERE plan_id = %(id)s::uuid AND path > %(after)s::bytea AND (%(action)s::text IS NULL OR action = %(action)s::text)
ORDER BY path LIMIT %(count)s::int
