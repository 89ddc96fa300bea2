-- name: put
-- of several assets at once; no two rows are of one asset and kind
WITH new AS MATERIALIZED (
         SELECT * FROM jsonb_to_recordset(%(made)s::jsonb)
         AS n (asset_id uuid, repository_id uuid, kind text, path text, recipe text, mime_type text, size_bytes bigint,
               width integer, height integer, details jsonb)),
     older AS (SELECT d.asset_id, d.kind, d.path FROM derivatives d
               JOIN new ON new.asset_id = d.asset_id AND new.kind = d.kind AND new.repository_id = d.repository_id
                       AND new.path <> d.path)
INSERT INTO derivatives (asset_id, kind, repository_id, path, recipe, mime_type, size_bytes, width, height, details)
SELECT asset_id, kind, repository_id, path, recipe, mime_type, size_bytes, width, height, details FROM new
ON CONFLICT (asset_id, kind) DO UPDATE SET
    repository_id = excluded.repository_id, path = excluded.path, recipe = excluded.recipe,
    mime_type = excluded.mime_type, size_bytes = excluded.size_bytes, width = excluded.width,
    height = excluded.height, details = excluded.details, created_at = now(),
    used_at = now(), evicted_at = NULL
RETURNING asset_id, (SELECT o.path FROM older o WHERE o.asset_id = derivatives.asset_id AND o.kind = derivatives.kind)

-- name: get
SELECT d.asset_id, d.repository_id, d.path, d.recipe, d.mime_type, d.size_bytes, d.created_at, d.used_at,
       d.evicted_at IS NOT NULL AS evicted, d.details, a.original_filename
FROM derivatives d JOIN assets a ON a.id = d.asset_id
WHERE d.asset_id = %(asset_id)s::uuid AND d.kind = %(kind)s::text AND a.deleted_at IS NULL

-- name: by_kind
SELECT d.kind, count(*) FILTER (WHERE d.evicted_at IS NULL) AS files,
       coalesce(sum(d.size_bytes) FILTER (WHERE d.evicted_at IS NULL), 0)::bigint AS size_bytes,
       count(*) FILTER (WHERE d.recipe <> c.recipe) AS outdated,
       count(*) FILTER (WHERE d.evicted_at IS NOT NULL) AS evicted
FROM derivatives d JOIN unnest(%(kinds)s::text[], %(recipes)s::text[]) AS c (kind, recipe) ON c.kind = d.kind
GROUP BY d.kind

-- name: jobs
SELECT kind, state <> 'discarded' AS is_open, count(*) FROM jobs WHERE kind = ANY (%(kinds)s::text[])
GROUP BY kind, is_open

-- name: outdate
-- what was made by no known recipe is made anew, and served until then
UPDATE derivatives SET recipe = ''
WHERE kind = ANY (%(kinds)s::text[]) AND evicted_at IS NULL AND recipe <> ''
  AND (%(repository_id)s::uuid IS NULL OR repository_id = %(repository_id)s::uuid)

-- name: rebuildable
SELECT a.id, f.repository_id, a.type FROM assets a
JOIN file_records f ON f.asset_id = a.id AND f.outcome = 'asset'
WHERE a.id = ANY (%(ids)s::uuid[]) AND a.deleted_at IS NULL

-- name: having
SELECT asset_id FROM derivatives WHERE kind = %(kind)s::text AND asset_id = ANY (%(ids)s::uuid[]) AND evicted_at IS NULL

-- name: gone
SELECT w.id FROM unnest(%(ids)s::uuid[]) AS w (id) WHERE NOT EXISTS (SELECT 1 FROM assets a WHERE a.id = w.id)

-- name: touch
UPDATE derivatives SET used_at = now() WHERE asset_id = %(asset_id)s::uuid AND kind = %(kind)s::text

-- name: evict
-- the one used last stays, however large it is; of one kind
UPDATE derivatives d SET evicted_at = now()
FROM (SELECT asset_id, sum(size_bytes) OVER latest AS total, row_number() OVER latest AS rank FROM derivatives
      WHERE kind = %(kind)s::text AND repository_id = %(repository_id)s::uuid AND evicted_at IS NULL
      WINDOW latest AS (ORDER BY used_at DESC, asset_id)) AS r
WHERE d.kind = %(kind)s::text AND d.asset_id = r.asset_id AND r.total > %(budget_bytes)s::bigint AND r.rank > 1
RETURNING d.path, d.size_bytes

-- name: outdated
SELECT d.asset_id, f.repository_id
FROM derivatives d JOIN assets a ON a.id = d.asset_id
JOIN file_records f ON f.asset_id = a.id AND f.outcome = 'asset'
WHERE d.kind = %(kind)s::text AND d.recipe <> %(recipe)s::text AND d.evicted_at IS NULL AND a.deleted_at IS NULL
  AND d.asset_id > %(after)s::uuid
  AND NOT EXISTS (SELECT 1 FROM jobs j WHERE j.asset_id = a.id AND j.kind = %(job)s::text)
ORDER BY d.asset_id LIMIT %(count)s::int
