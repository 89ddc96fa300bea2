-- name: moved_here
-- Files of a stretch that lie where no record or another file's says they do, each with the records of files with the
-- same inode, size and time of change of content elsewhere: such as were looked at and that are nobody's but a person's
-- to move. Each is looked up by itself, in the index of inodes.
WITH unknown AS MATERIALIZED (
    SELECT w.path, w.size_bytes, w.mtime_ns, w.inode, w.ctime_ns
    FROM unnest(%(paths)s::bytea[], %(sizes)s::bigint[], %(mtimes)s::bigint[], %(inodes)s::bigint[],
                %(ctimes)s::bigint[]) AS w (path, size_bytes, mtime_ns, inode, ctime_ns)
    LEFT JOIN unnest(%(left_out)s::bytea[]) AS l (path) ON l.path = w.path
    LEFT JOIN file_records t ON t.repository_id = %(repository_id)s::uuid AND t.path = w.path
                            AND t.path > %(after)s::bytea AND t.path <= %(until)s::bytea
    WHERE t.inode IS DISTINCT FROM w.inode AND l.path IS NULL
      AND w.size_bytes > 0 AND substring(w.path FROM 1 FOR 6) <> 'inbox/'::bytea)
SELECT f.id, f.asset_id, f.path, w.path, w.inode, w.mtime_ns, w.ctime_ns
FROM unknown w CROSS JOIN LATERAL (
    SELECT id, asset_id, path FROM file_records o
    WHERE o.repository_id = %(repository_id)s::uuid AND o.inode = w.inode AND o.size_bytes = w.size_bytes
      AND o.mtime_ns = w.mtime_ns AND o.path <> w.path AND o.outcome IN ('asset', 'duplicate')
      AND substring(o.path FROM 1 FOR 6) <> 'inbox/'::bytea
    LIMIT %(links)s::int) AS f
WHERE NOT EXISTS (SELECT 1 FROM findings n WHERE n.file_id = f.id AND n.state = 'open')

-- name: in_the_way
-- Records at places to which others moved, such as may make way: they are in no trash, and nobody's but a person's to move.
SELECT id, asset_id, path, inode, size_bytes, mtime_ns, outcome IN ('asset', 'duplicate') AS is_asset FROM file_records f
WHERE repository_id = %(repository_id)s::uuid AND path = ANY (%(paths)s::bytea[]) AND outcome <> 'trashed'
  AND NOT EXISTS (SELECT 1 FROM findings n WHERE n.file_id = f.id AND n.state = 'open')

-- name: hold_moving
-- those of the records that are still what they were when the file was looked for, and whether they are an asset's
SELECT f.id, f.outcome IN ('asset', 'duplicate')
FROM unnest(%(ids)s::uuid[], %(before)s::bytea[], %(inodes)s::bigint[]) AS m (id, path, inode)
JOIN file_records f ON f.id = m.id AND f.path = m.path AND f.inode = m.inode AND f.outcome <> 'trashed'
ORDER BY f.id FOR NO KEY UPDATE OF f

-- name: at_paths
SELECT path, id FROM file_records WHERE repository_id = %(repository_id)s::uuid AND path = ANY (%(paths)s::bytea[])

-- name: doubt
-- The place of these is taken by a file that nobody has seen, and theirs by one whose record stays: until they are looked
-- at they are no asset's original, so that no new bytes become a version of it.
UPDATE file_records SET outcome = 'duplicate', updated_at = now() WHERE id = ANY (%(ids)s::uuid[]) AND outcome = 'asset'

-- name: park
-- out of the way of others that move to where they were: no file's name has a NUL in it
UPDATE file_records SET path = '\x00'::bytea || convert_to(id::text, 'UTF8') WHERE id = ANY (%(ids)s::uuid[])

-- name: move
-- a file that was moved keeps its record, and with it everything
UPDATE file_records f SET path = m.path, ctime_ns = m.ctime_ns, missing_since = NULL, updated_at = now(),
    scan_generation = %(generation)s::bigint
FROM unnest(%(ids)s::uuid[], %(paths)s::bytea[], %(ctimes)s::bigint[]) AS m (id, path, ctime_ns)
WHERE f.id = m.id RETURNING f.path, f.asset_id

-- name: make_way
-- What lies where these were is another's file now. They go to the place that was left. Where their file lies there, they
-- have followed it. Else their time of change is one that no file has: whatever lies there is looked at anew, and is no
-- version of theirs; the end of the scan says whether it is missing, or has it looked for where something lies.
WITH moved AS (
    UPDATE file_records f SET path = m.path, ctime_ns = CASE WHEN NOT m.is_home THEN -1 END, updated_at = now(),
        missing_since = CASE WHEN NOT m.is_home THEN f.missing_since END,
        scan_generation = CASE WHEN m.is_home THEN %(generation)s::bigint ELSE f.scan_generation END
    FROM unnest(%(ids)s::uuid[], %(paths)s::bytea[], %(are_home)s::bool[], %(are_taken)s::bool[])
        AS m (id, path, is_home, is_taken)
    WHERE f.id = m.id
    RETURNING f.id, f.updated_at, m.is_home, m.is_taken)
INSERT INTO scan_absences (repository_id, generation, file_id, updated_at)
SELECT %(repository_id)s::uuid, %(generation)s::bigint, id, CASE WHEN is_taken THEN '-infinity' ELSE updated_at END
FROM moved WHERE NOT is_home
ON CONFLICT (repository_id, generation, file_id) DO UPDATE SET updated_at = excluded.updated_at
