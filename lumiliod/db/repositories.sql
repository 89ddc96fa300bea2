-- name: insert
INSERT INTO repositories (id, name, root, backend, storage_strategy, created_at)
VALUES (%(id)s, %(name)s, %(root)s, 'local', %(storage_strategy)s, %(created_at)s)

-- name: tell
SELECT pg_notify(%(channel)s::text, '')

-- name: all
SELECT id, name, root, storage_strategy, status, status_reason, created_at FROM repositories ORDER BY name

-- name: set_status
UPDATE repositories SET status = %(status)s::text, status_reason = %(reason)s::text
WHERE id = %(id)s::uuid AND (status, status_reason) IS DISTINCT FROM (%(status)s::text, %(reason)s::text)

-- name: note_status
UPDATE repositories SET status = %(status)s::text, status_reason = %(reason)s::text
WHERE id = %(id)s::uuid AND root = %(root)s::text AND status <> 'detached'
  AND (status, status_reason) IS DISTINCT FROM (%(status)s::text, %(reason)s::text)

-- name: sizes
SELECT repository_id, count(*) FILTER (WHERE outcome = 'asset') AS assets, count(*) AS files,
       coalesce(sum(size_bytes) FILTER (WHERE outcome = 'asset'), 0)::bigint AS size_bytes
FROM file_records
WHERE missing_since IS NULL AND (%(id)s::uuid IS NULL OR repository_id = %(id)s::uuid)
GROUP BY repository_id

-- name: set_root
UPDATE repositories SET root = %(root)s::text, status = 'online', status_reason = NULL WHERE id = %(id)s::uuid

-- name: set_name
UPDATE repositories SET name = %(name)s::text WHERE id = %(id)s::uuid

-- name: take_time
SELECT set_config('statement_timeout', %(timeout_ms)s::text, true)

-- name: lock
-- every row about a repository refers to it: none is added meanwhile
SELECT 1 FROM repositories WHERE id = %(id)s::uuid FOR UPDATE

-- name: touched
-- assets with a file here, in its folders or in its trash
SELECT asset_id FROM file_records
WHERE repository_id = %(id)s::uuid AND outcome IN ('asset', 'duplicate', 'trashed')
UNION
SELECT asset_id FROM trash_files WHERE repository_id = %(id)s::uuid

-- name: removal
WITH touched AS (
    SELECT asset_id FROM file_records
    WHERE repository_id = %(id)s::uuid AND outcome IN ('asset', 'duplicate', 'trashed')
    UNION
    SELECT asset_id FROM trash_files WHERE repository_id = %(id)s::uuid),
kept AS (
    SELECT asset_id FROM touched t
    WHERE EXISTS (SELECT 1 FROM file_records f WHERE f.asset_id = t.asset_id AND f.repository_id <> %(id)s::uuid
                    AND f.outcome IN ('asset', 'duplicate', 'trashed'))
       OR EXISTS (SELECT 1 FROM trash_files x WHERE x.asset_id = t.asset_id AND x.repository_id <> %(id)s::uuid))
SELECT (SELECT count(*) FROM touched) - (SELECT count(*) FROM kept) AS forgotten, (SELECT count(*) FROM kept) AS kept,
       (SELECT count(*) FROM touched t JOIN trash USING (asset_id)) AS trashed,
       (SELECT count(*) FROM file_records WHERE repository_id = %(id)s::uuid AND missing_since IS NULL) AS files,
       (SELECT coalesce(sum(size_bytes), 0)::bigint FROM file_records
        WHERE repository_id = %(id)s::uuid AND outcome = 'asset' AND missing_since IS NULL) AS size_bytes,
       (SELECT count(*) FROM derivatives WHERE repository_id = %(id)s::uuid) AS derivatives,
       (SELECT coalesce(sum(size_bytes), 0)::bigint FROM derivatives
        WHERE repository_id = %(id)s::uuid) AS derivative_bytes,
       (SELECT count(*) FROM mirrors WHERE repository_id = %(id)s::uuid) AS mirrors,
       (SELECT count(*) FROM jobs WHERE repository_id = %(id)s::uuid) AS jobs

-- name: lock_assets
-- whoever changes what is in the trash holds the rows of its assets first, in this order
SELECT id FROM assets WHERE id = ANY (%(ids)s::uuid[]) ORDER BY id FOR UPDATE

-- name: drop_files
DELETE FROM file_records WHERE repository_id = %(id)s::uuid

-- name: drop_trash_files
DELETE FROM trash_files WHERE repository_id = %(id)s::uuid

-- name: promote
-- what is left of an asset elsewhere is what it is served from
UPDATE file_records SET outcome = 'asset', updated_at = now()
WHERE id IN (SELECT DISTINCT ON (d.asset_id) d.id FROM file_records d
             WHERE d.asset_id = ANY (%(ids)s::uuid[]) AND d.outcome = 'duplicate'
               AND NOT EXISTS (SELECT 1 FROM file_records o WHERE o.asset_id = d.asset_id AND o.outcome = 'asset')
             ORDER BY d.asset_id, d.missing_since IS NOT NULL, d.id)

-- name: orphans
SELECT a.id FROM assets a
WHERE a.id = ANY (%(ids)s::uuid[])
  AND NOT EXISTS (SELECT 1 FROM file_records f WHERE f.asset_id = a.id AND f.outcome IN ('asset', 'duplicate', 'trashed'))
  AND NOT EXISTS (SELECT 1 FROM trash_files x WHERE x.asset_id = a.id)

-- name: release_sidecars
UPDATE file_records SET asset_id = NULL, reason = 'its asset was forgotten' WHERE asset_id = ANY (%(ids)s::uuid[])

-- name: drop_trash
DELETE FROM trash WHERE asset_id = ANY (%(ids)s::uuid[])

-- name: drop_assets
DELETE FROM assets WHERE id = ANY (%(ids)s::uuid[])

-- name: without_pictures
-- what stays loses the pictures that lie here: they are made again
UPDATE assets a SET status = 'processing', updated_at = now()
FROM file_records f
WHERE a.id = ANY (%(ids)s::uuid[]) AND a.status = 'ready' AND a.deleted_at IS NULL
  AND f.asset_id = a.id AND f.outcome = 'asset'
  AND EXISTS (SELECT 1 FROM derivatives d WHERE d.asset_id = a.id AND d.repository_id = %(id)s::uuid)
RETURNING a.id, f.repository_id

-- name: delete
DELETE FROM repositories WHERE id = %(id)s::uuid

-- name: stats
SELECT id, path, size_bytes, mtime_ns, inode FROM file_records
WHERE repository_id = %(id)s::uuid AND missing_since IS NULL AND path > %(after)s::bytea
ORDER BY path LIMIT %(count)s::int

-- name: set_inodes
-- the same files on another disk: their numbers there
UPDATE file_records SET inode = s.inode, ctime_ns = NULL FROM unnest(%(ids)s::uuid[], %(inodes)s::bigint[]) AS s (id, inode)
WHERE file_records.id = s.id
