-- name: is_being_scanned
-- Whether a scan is under way, or about to be: it may say where the file went whose place another has. One that waits for
-- a repository that was away is begun anew by others.
SELECT EXISTS (SELECT 1 FROM jobs WHERE kind = 'scan' AND unique_key IS NOT NULL
                 AND state IN ('available', 'scheduled', 'running', 'retryable')
                 AND (state IN ('available', 'running') OR scheduled_at < now() + interval '2 seconds')
                 AND repository_id = %(repository_id)s::uuid)

-- name: renewable
-- Whether the bytes at an asset's place are a new version of it: nothing else holds the asset, its record did not make way
-- to there for a file that took its place (make_way of moves.sql), and no file waits that may be the one that lay there (a
-- moved file keeps its size and its time).
SELECT EXISTS (
    SELECT 1 FROM assets a JOIN file_records f ON f.asset_id = a.id
    WHERE a.id = %(asset_id)s::uuid AND a.deleted_at IS NULL AND a.type = %(type)s::text
      AND f.id = %(record_id)s::uuid AND f.outcome = 'asset' AND f.digest = a.digest AND f.path = %(path)s::bytea
      AND f.ctime_ns IS DISTINCT FROM -1
      AND NOT EXISTS (SELECT 1 FROM file_records o
                      WHERE o.asset_id = a.id AND o.id <> f.id
                        -- a sidecar that is looked at anew has no digest, and holds nothing
                        AND (o.outcome IN ('asset', 'duplicate', 'trashed')
                             OR (o.outcome = 'pending' AND o.digest IS NOT NULL)))
      AND NOT EXISTS (SELECT 1 FROM file_records p
                      WHERE p.outcome = 'pending' AND p.id <> f.id
                        AND p.size_bytes = f.size_bytes AND p.mtime_ns = f.mtime_ns AND p.missing_since IS NULL))

-- name: overtaken
-- Files that hold what assets were when they were met, and are no longer: who was looked at first has made other bytes a
-- version of the asset meanwhile.
SELECT f.id, a.id FROM unnest(%(records)s::uuid[], %(digests)s::text[]) AS w (record_id, digest)
JOIN file_records f ON f.id = w.record_id
JOIN asset_versions v ON v.digest = decode(w.digest, 'hex') AND v.replaced_at > f.updated_at
JOIN assets a ON a.id = v.asset_id
WHERE a.owner_id = %(owner_id)s::uuid AND a.deleted_at IS NULL
  AND NOT EXISTS (SELECT 1 FROM asset_versions n WHERE n.asset_id = a.id AND n.number > v.number)

-- name: forget_last
-- the one that has these bytes
DELETE FROM asset_versions v USING assets a
WHERE v.asset_id = %(id)s::uuid AND v.digest = decode(%(digest)s::text, 'hex') AND a.id = v.asset_id
  AND a.type = %(type)s::text AND a.deleted_at IS NULL
  AND NOT EXISTS (SELECT 1 FROM asset_versions n WHERE n.asset_id = v.asset_id AND n.number > v.number)

-- name: release_files
-- those that hold what the asset is no longer are looked at anew
UPDATE file_records SET outcome = 'pending', asset_id = NULL, digest = NULL, updated_at = now()
WHERE asset_id = %(id)s::uuid AND outcome IN ('asset', 'duplicate') AND id <> %(except_id)s::uuid
RETURNING id, repository_id

-- name: keep
INSERT INTO asset_versions (asset_id, number, digest, size_bytes, mime_type, taken_at, added_at)
SELECT a.id, 1 + (SELECT count(*) FROM asset_versions v WHERE v.asset_id = a.id), a.digest, a.size_bytes, a.mime_type,
       a.taken_at, coalesce((SELECT max(v.replaced_at) FROM asset_versions v WHERE v.asset_id = a.id), a.added_at)
FROM assets a WHERE a.id = %(id)s::uuid

-- name: renew
-- what the new bytes are; what a person has set stays, what is made of them is made anew
UPDATE assets SET digest = decode(%(digest)s::text, 'hex'), size_bytes = %(size_bytes)s::bigint, mime_type = %(mime_type)s::text,
    width = %(width)s::int, height = %(height)s::int, duration_s = %(duration_s)s::float8, taken_at = %(taken_at)s::timestamptz,
    taken_at_local = %(taken_at_local)s::timestamp, tz_source = %(tz_source)s::text, taken_source = %(taken_source)s::text,
    status = 'processing', status_reason = NULL, metadata_at = NULL, plays_on_web = NULL, updated_at = now()
WHERE id = %(id)s::uuid

-- name: outdate
-- pictures are shown until there are others
UPDATE derivatives SET recipe = '' WHERE asset_id = %(id)s::uuid

-- name: drop_versions_for_the_web
DELETE FROM derivatives WHERE asset_id = %(id)s::uuid AND kind = ANY (%(kinds)s::text[])

-- name: drop_embeddings
DELETE FROM embeddings WHERE asset_id = %(id)s::uuid

-- name: of_asset
SELECT number, encode(digest, 'hex') AS digest, size_bytes, mime_type, taken_at, added_at, replaced_at
FROM asset_versions WHERE asset_id = %(id)s::uuid ORDER BY number DESC
