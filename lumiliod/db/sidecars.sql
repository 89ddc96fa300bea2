-- name: found
-- sidecars that are there: at names that somebody may have given them, and those that assets were given, wherever
SELECT f.id, f.repository_id, f.path, f.asset_id
FROM unnest(%(repository_ids)s::uuid[], %(paths)s::bytea[]) AS w (repository_id, path)
CROSS JOIN LATERAL (SELECT * FROM file_records n WHERE n.repository_id = w.repository_id AND n.path = w.path OFFSET 0) AS f
WHERE f.outcome = 'sidecar' AND f.missing_since IS NULL
UNION
SELECT f.id, f.repository_id, f.path, f.asset_id FROM file_records f
WHERE f.asset_id = ANY (%(asset_ids)s::uuid[]) AND f.outcome = 'sidecar' AND f.missing_since IS NULL

-- name: described
-- files of assets at names that a sidecar may describe
SELECT f.repository_id, f.path, a.id, a.type, a.mime_type
FROM unnest(%(repository_ids)s::uuid[], %(paths)s::bytea[]) AS w (repository_id, path)
CROSS JOIN LATERAL (SELECT * FROM file_records n WHERE n.repository_id = w.repository_id AND n.path = w.path OFFSET 0) AS f
CROSS JOIN LATERAL (SELECT * FROM assets o WHERE o.id = f.asset_id OFFSET 0) AS a
WHERE a.deleted_at IS NULL AND (f.outcome = 'asset' OR (f.outcome = 'duplicate' AND f.missing_since IS NULL))
  -- what made way lies there by its record alone
  AND f.ctime_ns IS DISTINCT FROM -1

-- name: places
-- where the bytes of assets lie, that they are served from first
SELECT f.asset_id, f.repository_id, f.path FROM unnest(%(asset_ids)s::uuid[]) AS w (id)
CROSS JOIN LATERAL (SELECT n.asset_id, n.repository_id, n.path, n.outcome FROM file_records n
                    WHERE n.asset_id = w.id
                      AND (n.outcome = 'asset' OR (n.outcome = 'duplicate' AND n.missing_since IS NULL))
                    ORDER BY n.outcome, n.path LIMIT %(places)s::int) AS f
ORDER BY f.asset_id, f.outcome, f.path

-- name: give
UPDATE file_records f SET asset_id = s.asset_id, updated_at = now(),
    reason = CASE WHEN s.asset_id IS NULL THEN 'no asset has this name' END
FROM unnest(%(ids)s::uuid[], %(asset_ids)s::uuid[]) AS s (id, asset_id)
WHERE f.id = s.id AND f.outcome = 'sidecar'

-- name: unmet
-- assets some of whose sidecars these are
SELECT DISTINCT asset_id FROM file_records
WHERE id = ANY (%(ids)s::uuid[]) AND outcome = 'sidecar' AND asset_id IS NOT NULL

-- name: reread
-- what a file says of itself is to be read anew: missing work until that is done
WITH held AS MATERIALIZED (
    SELECT id FROM assets WHERE id = ANY (%(asset_ids)s::uuid[]) AND deleted_at IS NULL ORDER BY id FOR NO KEY UPDATE),
doubted AS (
    UPDATE assets a SET metadata_at = NULL FROM held WHERE a.id = held.id AND a.metadata_at IS NOT NULL)
SELECT held.id, f.repository_id FROM held
JOIN file_records f ON f.asset_id = held.id AND f.outcome = 'asset' ORDER BY held.id
