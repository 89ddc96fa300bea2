-- name: lock_asset
-- as whoever changes what is in the trash does, so that no file is moved by two at once
SELECT id FROM assets WHERE id = %(id)s::uuid FOR NO KEY UPDATE

-- name: lock_move
SELECT state FROM relayout_moves WHERE relayout_id = %(id)s::uuid AND seq = %(seq)s::int FOR UPDATE

-- name: lock_record
SELECT path, outcome, asset_id, size_bytes, mtime_ns, inode FROM file_records WHERE id = %(id)s::uuid FOR UPDATE

-- name: taken
-- names that belong to other assets, whatever lies there this moment
SELECT path FROM file_records
WHERE repository_id = %(repository_id)s::uuid AND path = ANY (%(paths)s::bytea[]) AND id <> %(record_id)s::uuid
  AND asset_id IS NOT NULL AND asset_id IS DISTINCT FROM %(asset_id)s::uuid

-- name: is_in_use
-- somebody reads it by its name this moment
SELECT EXISTS (SELECT 1 FROM jobs WHERE asset_id = %(asset_id)s::uuid AND state = 'running')

-- name: of_asset_at
-- whoever met the file at its new name first has given it a record
SELECT id, path FROM file_records
WHERE repository_id = %(repository_id)s::uuid AND asset_id = %(asset_id)s::uuid AND path = ANY (%(paths)s::bytea[])
  AND outcome IN ('asset', 'duplicate')
ORDER BY outcome <> 'asset', id LIMIT 1

-- name: at
SELECT id, outcome, asset_id FROM file_records
WHERE repository_id = %(repository_id)s::uuid AND path = %(path)s::bytea FOR UPDATE

-- name: drop_record
DELETE FROM file_records WHERE id = %(id)s::uuid

-- name: promote
UPDATE file_records SET outcome = 'asset', updated_at = now() WHERE id = %(id)s::uuid

-- name: put_record
-- it counts as met by a scan under way, which may have passed either name; renaming changed its time of change
UPDATE file_records SET path = %(path)s::bytea, size_bytes = %(size_bytes)s::bigint, mtime_ns = %(mtime_ns)s::bigint,
    inode = %(inode)s::bigint, ctime_ns = NULL,
    outcome = CASE WHEN %(promoted)s::boolean THEN 'asset' ELSE outcome END, missing_since = NULL, updated_at = now(),
    scan_generation = (SELECT r.scan_generation FROM repositories r WHERE r.id = file_records.repository_id)
WHERE id = %(id)s::uuid

-- name: add_record
-- a further copy is back; what a scan made of it meanwhile gives way
INSERT INTO file_records (id, repository_id, path, size_bytes, mtime_ns, inode, digest, outcome, asset_id,
                          scan_generation)
SELECT %(id)s::uuid, %(repository_id)s::uuid, %(path)s::bytea, %(size_bytes)s::bigint, %(mtime_ns)s::bigint,
       %(inode)s::bigint, decode(%(digest)s::text, 'hex'), 'duplicate', a.id,
       (SELECT scan_generation FROM repositories WHERE id = %(repository_id)s::uuid)
FROM assets a WHERE a.id = %(asset_id)s::uuid AND a.deleted_at IS NULL
ON CONFLICT (repository_id, path) DO UPDATE SET size_bytes = excluded.size_bytes, mtime_ns = excluded.mtime_ns,
    inode = excluded.inode, ctime_ns = NULL, scan_generation = excluded.scan_generation, digest = excluded.digest, asset_id = excluded.asset_id, reason = NULL, missing_since = NULL,
    outcome = CASE WHEN file_records.outcome = 'asset' AND file_records.asset_id = excluded.asset_id THEN 'asset'
                   ELSE 'duplicate' END,
    updated_at = now()

-- name: adopt
INSERT INTO file_records (id, repository_id, path, size_bytes, mtime_ns, inode, outcome, scan_generation)
VALUES (%(id)s, %(repository_id)s, %(path)s, %(size_bytes)s, %(mtime_ns)s, %(inode)s, 'pending',
        (SELECT scan_generation FROM repositories WHERE id = %(repository_id)s))
ON CONFLICT DO NOTHING

-- name: close_findings
-- a place has one finding at a time, a file one place
UPDATE findings SET state = 'resolved', closed_at = now()
WHERE repository_id = %(repository_id)s::uuid AND mirror_id IS NULL AND state IN ('open', 'ignored')
  AND ((path = %(path)s::bytea AND file_id IS DISTINCT FROM %(file_id)s::uuid)
       OR (file_id = %(file_id)s::uuid
           AND id <> (SELECT n.id FROM findings n WHERE n.file_id = %(file_id)s::uuid AND n.mirror_id IS NULL
                        AND n.state IN ('open', 'ignored') ORDER BY n.id DESC LIMIT 1)))

-- name: move_findings
UPDATE findings SET path = %(path)s::bytea
WHERE file_id = %(file_id)s::uuid AND mirror_id IS NULL AND state IN ('open', 'ignored')
