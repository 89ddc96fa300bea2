-- name: seen
-- Files that were met outside a scan. One whose size, time or inode changed is looked at anew, and one whose
-- settings or permissions may have changed; another keeps its outcome. They count as met by a scan under way.
INSERT INTO file_records AS f (id, repository_id, path, size_bytes, mtime_ns, inode, outcome, reason, scan_generation)
SELECT s.id, %(repository_id)s::uuid, s.path, s.size_bytes, s.mtime_ns, s.inode, s.outcome, s.reason,
       %(generation)s::bigint
FROM unnest(%(ids)s::uuid[], %(paths)s::bytea[], %(sizes)s::bigint[], %(mtimes)s::bigint[], %(inodes)s::bigint[],
            %(outcomes)s::text[], %(reasons)s::text[])
    AS s (id, path, size_bytes, mtime_ns, inode, outcome, reason)
ON CONFLICT (repository_id, path) DO UPDATE SET
    scan_generation = greatest(f.scan_generation, excluded.scan_generation), missing_since = NULL,
    outcome = CASE WHEN (f.size_bytes, f.mtime_ns, f.inode) IS DISTINCT FROM
                        (excluded.size_bytes, excluded.mtime_ns, excluded.inode)
                     OR (excluded.outcome <> 'pending' AND f.outcome NOT IN ('asset', 'duplicate', 'trashed', excluded.outcome))
                     OR (excluded.outcome = 'pending' AND f.outcome IN ('ignored', 'unreadable', 'too_large'))
                   THEN excluded.outcome ELSE f.outcome END,
    reason = CASE WHEN (f.size_bytes, f.mtime_ns, f.inode) IS DISTINCT FROM
                       (excluded.size_bytes, excluded.mtime_ns, excluded.inode)
                    OR (excluded.outcome <> 'pending' AND f.outcome NOT IN ('asset', 'duplicate', 'trashed', excluded.outcome))
                    OR (excluded.outcome = 'pending' AND f.outcome IN ('ignored', 'unreadable', 'too_large'))
                  THEN excluded.reason ELSE f.reason END,
    ctime_ns = CASE WHEN (f.size_bytes, f.mtime_ns, f.inode) IS NOT DISTINCT FROM
                         (excluded.size_bytes, excluded.mtime_ns, excluded.inode) THEN f.ctime_ns END,
    size_bytes = excluded.size_bytes, mtime_ns = excluded.mtime_ns, inode = excluded.inode, updated_at = now()
RETURNING f.id, f.path, f.outcome = 'pending' AS pending, f.created_at = now() AS added

-- name: get
SELECT id, repository_id, path, size_bytes, mtime_ns, inode, outcome, reason, asset_id, encode(digest, 'hex') AS digest
FROM file_records WHERE id = ANY (%(ids)s::uuid[])

-- name: original_of
SELECT id, repository_id, path, size_bytes, mtime_ns, inode, outcome, reason, asset_id, encode(digest, 'hex') AS digest
FROM file_records WHERE asset_id = %(asset_id)s::uuid AND outcome = 'asset'

-- name: drop_former
-- the file was gone when it was looked at; a record that has moved on since then tells of a living one
DELETE FROM file_records
WHERE id = %(id)s::uuid AND asset_id = %(asset_id)s::uuid AND outcome = 'asset' AND path = %(path)s::bytea
  AND (size_bytes, mtime_ns, inode) = (%(size_bytes)s::bigint, %(mtime_ns)s::bigint, %(inode)s::bigint)
RETURNING missing_since IS NULL

-- name: drop_missing
-- as drop_former, of an original or a further copy
DELETE FROM file_records
WHERE id = %(id)s::uuid AND asset_id = %(asset_id)s::uuid AND outcome IN ('asset', 'duplicate') AND path = %(path)s::bytea
  AND (size_bytes, mtime_ns, inode) = (%(size_bytes)s::bigint, %(mtime_ns)s::bigint, %(inode)s::bigint)

-- name: doubt_former
-- as drop_former, of a file that is there and is not what it was
UPDATE file_records SET outcome = 'pending', asset_id = NULL, digest = NULL, updated_at = now()
WHERE id = %(id)s::uuid AND asset_id = %(asset_id)s::uuid AND outcome = 'asset' AND path = %(path)s::bytea
  AND (size_bytes, mtime_ns, inode) = (%(size_bytes)s::bigint, %(mtime_ns)s::bigint, %(inode)s::bigint)

-- name: demote_former
-- as drop_former, of a file that nobody wrote: its bytes are expected still
UPDATE file_records SET outcome = 'duplicate', updated_at = now()
WHERE id = %(id)s::uuid AND asset_id = %(asset_id)s::uuid AND outcome = 'asset' AND path = %(path)s::bytea
  AND (size_bytes, mtime_ns, inode) = (%(size_bytes)s::bigint, %(mtime_ns)s::bigint, %(inode)s::bigint)

-- name: drop_missing_original
-- of bytes that another file has; a scan that marks it later finds that file itself
DELETE FROM file_records
WHERE asset_id = %(asset_id)s::uuid AND outcome = 'asset' AND missing_since IS NOT NULL AND id <> %(except_id)s::uuid

-- name: has_original
SELECT EXISTS (SELECT 1 FROM file_records
               WHERE asset_id = %(asset_id)s::uuid AND outcome = 'asset' AND id <> %(except_id)s::uuid)

-- name: doubt_original
-- the file is there, but it is not what it was: it is looked at anew
UPDATE file_records SET outcome = 'pending', asset_id = NULL, digest = NULL, updated_at = now()
WHERE asset_id = %(asset_id)s::uuid AND outcome = 'asset' AND id <> %(except_id)s::uuid
RETURNING id, repository_id

-- name: is_doubted
SELECT EXISTS (SELECT 1 FROM file_records WHERE asset_id = %(asset_id)s::uuid AND outcome = 'pending')

-- name: settle
-- the time of change that a scan noted stays with the state it was noted with, where none was seen since
UPDATE file_records f SET
    ctime_ns = coalesce(s.ctime_ns, CASE WHEN (f.size_bytes, f.mtime_ns, f.inode) = (s.size_bytes, s.mtime_ns, s.inode)
                                    THEN f.ctime_ns END),
    outcome = s.outcome, reason = NULL, asset_id = s.asset_id, digest = s.digest, size_bytes = s.size_bytes,
    mtime_ns = s.mtime_ns, inode = s.inode, missing_since = NULL, updated_at = now()
FROM unnest(%(ids)s::uuid[], %(outcomes)s::text[], %(asset_ids)s::uuid[], %(digests)s::bytea[], %(sizes)s::bigint[],
            %(mtimes)s::bigint[], %(inodes)s::bigint[], %(ctimes)s::bigint[], %(paths)s::bytea[])
    AS s (id, outcome, asset_id, digest, size_bytes, mtime_ns, inode, ctime_ns, path)
WHERE f.id = s.id AND (s.path IS NULL OR f.path = s.path)

-- name: keep_expected
-- its asset would be in no other file: what is to be done is a person's to say
UPDATE file_records f SET outcome = 'asset', reason = NULL,
    ctime_ns = coalesce(%(ctime_ns)s::bigint,
                        CASE WHEN (size_bytes, mtime_ns, inode)
                                  = (%(size_bytes)s::bigint, %(mtime_ns)s::bigint, %(inode)s::bigint) THEN ctime_ns END),
    size_bytes = %(size_bytes)s::bigint,
    mtime_ns = %(mtime_ns)s::bigint, inode = %(inode)s::bigint, updated_at = now()
WHERE id = %(id)s::uuid AND asset_id = %(asset_id)s::uuid AND digest = decode(%(expected)s::text, 'hex')
  AND NOT EXISTS (SELECT 1 FROM file_records o WHERE o.asset_id = f.asset_id AND o.id <> f.id
                    AND (o.outcome = 'asset' OR (o.outcome = 'duplicate' AND o.missing_since IS NULL)))
  AND EXISTS (SELECT 1 FROM assets a WHERE a.id = f.asset_id AND a.deleted_at IS NULL)

-- name: release
UPDATE file_records SET outcome = 'pending', asset_id = NULL, digest = NULL,
    ctime_ns = CASE WHEN (size_bytes, mtime_ns, inode)
                         = (%(size_bytes)s::bigint, %(mtime_ns)s::bigint, %(inode)s::bigint) THEN ctime_ns END,
    size_bytes = %(size_bytes)s::bigint,
    mtime_ns = %(mtime_ns)s::bigint, inode = %(inode)s::bigint, updated_at = now()
WHERE id = %(id)s::uuid AND asset_id = %(asset_id)s::uuid

-- name: reject
-- with the state of the file that was examined, so that a later one is looked at anew
UPDATE file_records SET outcome = %(outcome)s::text, reason = %(reason)s::text, asset_id = NULL, digest = NULL,
    ctime_ns = coalesce(%(ctime_ns)s::bigint,
                        CASE WHEN (size_bytes, mtime_ns, inode)
                                  = (%(size_bytes)s::bigint, %(mtime_ns)s::bigint, %(inode)s::bigint) THEN ctime_ns END),
    size_bytes = %(size_bytes)s::bigint, mtime_ns = %(mtime_ns)s::bigint, inode = %(inode)s::bigint,
    updated_at = now()
WHERE id = %(id)s::uuid AND path = %(path)s::bytea

-- name: forget
DELETE FROM file_records WHERE id = %(id)s::uuid AND path = %(path)s::bytea

-- name: place
-- A scan may have seen the file between its placing and this row, or have passed its folder before:
-- it counts as met by the scan under way. Its time of change is not known: what follows, forgetting the staged
-- name, changes it.
INSERT INTO file_records (id, repository_id, path, size_bytes, mtime_ns, inode, digest, outcome, asset_id,
                          scan_generation)
VALUES (%(id)s, %(repository_id)s, %(path)s, %(size_bytes)s, %(mtime_ns)s, %(inode)s, %(digest)s, %(outcome)s,
        %(asset_id)s, (SELECT scan_generation FROM repositories WHERE id = %(repository_id)s))
ON CONFLICT (repository_id, path) DO UPDATE SET scan_generation = excluded.scan_generation,
    size_bytes = excluded.size_bytes, mtime_ns = excluded.mtime_ns, inode = excluded.inode, ctime_ns = NULL,
    digest = excluded.digest,
    outcome = excluded.outcome, reason = NULL, asset_id = excluded.asset_id, missing_since = NULL, updated_at = now()
WHERE file_records.asset_id IS NULL OR file_records.asset_id = excluded.asset_id

-- name: taken
-- names that belong to other assets, whatever lies there this moment
SELECT path FROM file_records
WHERE repository_id = %(repository_id)s::uuid AND path = ANY (%(paths)s::bytea[])
  AND asset_id IS NOT NULL AND asset_id IS DISTINCT FROM %(asset_id)s::uuid

-- name: place_copy
-- whoever recorded a file at this place before knows better what it is
INSERT INTO file_records (id, repository_id, path, size_bytes, mtime_ns, inode, digest, outcome, asset_id,
                          scan_generation)
VALUES (%(id)s, %(repository_id)s, %(path)s, %(size_bytes)s, %(mtime_ns)s, %(inode)s, %(digest)s, 'duplicate',
        %(asset_id)s, (SELECT scan_generation FROM repositories WHERE id = %(repository_id)s))
ON CONFLICT (repository_id, path) DO NOTHING

-- name: page
SELECT id, repository_id, path, size_bytes, mtime_ns, inode, outcome, reason, asset_id, encode(digest, 'hex') AS digest
FROM file_records
WHERE repository_id = %(repository_id)s::uuid AND path > %(after)s::bytea AND missing_since IS NULL
  AND (%(outcome)s::text IS NULL OR outcome = %(outcome)s::text)
ORDER BY path LIMIT %(count)s::int

-- name: pending_without_job
-- Those given up before are tried once more at every start. Each is looked up by itself: a join of tables whose
-- statistics are old may compare everything with everything.
SELECT f.id, f.repository_id FROM file_records f
LEFT JOIN LATERAL (SELECT true AS is_open FROM jobs j
                   WHERE j.kind = 'ingest' AND j.unique_key = 'file:' || f.id::text
                     AND j.state IN ('available', 'scheduled', 'running', 'retryable') LIMIT 1) AS j ON true
WHERE f.outcome = 'pending' AND f.missing_since IS NULL AND f.id > %(after)s::uuid AND j.is_open IS NULL
ORDER BY f.id LIMIT %(count)s::int
