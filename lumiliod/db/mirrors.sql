-- name: insert
-- a place that only a marker named so far becomes a person's
INSERT INTO mirrors (id, repository_id, location, options)
VALUES (%(id)s, %(repository_id)s, %(location)s, %(options)s::jsonb)
ON CONFLICT (repository_id, location) DO UPDATE SET declared = false, options = excluded.options
WHERE mirrors.declared RETURNING id

-- name: declare
-- what markers say: a person's own mirror at the same place stays a person's
INSERT INTO mirrors (id, repository_id, location, declared)
SELECT m.id, m.repository_id, m.location, true
FROM unnest(%(ids)s::uuid[], %(repositories)s::uuid[], %(locations)s::text[]) AS m (id, repository_id, location)
ON CONFLICT (repository_id, location) DO NOTHING

-- name: undeclare
-- what their markers do not say any more
DELETE FROM mirrors
USING unnest(%(repositories)s::uuid[], %(locations)s::text[]) AS m (repository_id, location)
WHERE mirrors.repository_id = m.repository_id AND mirrors.declared AND mirrors.location IS DISTINCT FROM m.location

-- name: all
SELECT id, repository_id, location, options, declared, status, status_reason, introduced_at, created_at
FROM mirrors ORDER BY repository_id, location

-- name: of_repository
SELECT id FROM mirrors WHERE repository_id = %(repository_id)s::uuid ORDER BY id

-- name: get
SELECT id, repository_id, location, options, declared, status, status_reason, introduced_at, created_at
FROM mirrors WHERE id = %(id)s::uuid

-- name: remove
DELETE FROM mirrors WHERE id = %(id)s::uuid

-- name: set_status
UPDATE mirrors SET status = %(status)s::text, status_reason = %(reason)s::text
WHERE id = %(id)s::uuid AND (status, status_reason) IS DISTINCT FROM (%(status)s::text, %(reason)s::text)

-- name: note_reached
UPDATE mirrors SET introduced_at = coalesce(introduced_at, now()),
    status = CASE status WHEN 'offline' THEN 'online' ELSE status END,
    status_reason = CASE status WHEN 'offline' THEN NULL ELSE status_reason END
WHERE id = %(id)s::uuid

-- name: lacking
-- originals that a mirror has no copy of; the same bytes are copied once
SELECT id, repository_id, path, size_bytes, mtime_ns, inode, asset_id, encode(digest, 'hex') AS digest,
       coalesce(checked_at, '-infinity')::text AS position
FROM file_records f
WHERE f.repository_id = %(repository_id)s::uuid AND f.outcome = 'asset' AND f.missing_since IS NULL
  AND f.size_bytes > 0 AND f.id > %(after)s::uuid
  AND NOT EXISTS (SELECT 1 FROM mirror_copies c WHERE c.mirror_id = %(mirror_id)s::uuid AND c.digest = f.digest)
ORDER BY f.id LIMIT %(count)s::int

-- name: behind
-- mirrors that lack something and that no job fills
SELECT m.id, m.repository_id FROM mirrors m
WHERE m.id > %(after)s::uuid
  AND EXISTS (SELECT 1 FROM file_records f
              WHERE f.repository_id = m.repository_id AND f.outcome = 'asset' AND f.missing_since IS NULL
                AND f.size_bytes > 0
                AND NOT EXISTS (SELECT 1 FROM mirror_copies c WHERE c.mirror_id = m.id AND c.digest = f.digest))
  AND NOT EXISTS (SELECT 1 FROM jobs j WHERE j.kind = 'mirror' AND j.unique_key = 'mirror:' || m.id::text
                    AND j.state IN ('available', 'scheduled', 'running', 'retryable'))
ORDER BY m.id LIMIT %(count)s::int

-- name: put_copy
INSERT INTO mirror_copies (mirror_id, digest, size_bytes, asset_id)
VALUES (%(mirror_id)s, %(digest)s, %(size_bytes)s, %(asset_id)s)
ON CONFLICT (mirror_id, digest) DO UPDATE SET verified_at = now(), asset_id = excluded.asset_id

-- name: drop_copy
DELETE FROM mirror_copies WHERE mirror_id = %(mirror_id)s::uuid AND digest = %(digest)s::bytea

-- name: stamp_copy
UPDATE mirror_copies SET verified_at = now() WHERE mirror_id = %(mirror_id)s::uuid AND digest = %(digest)s::bytea

-- name: next_copies
SELECT encode(digest, 'hex') AS digest, size_bytes, asset_id, verified_at FROM mirror_copies
WHERE mirror_id = %(mirror_id)s::uuid AND verified_at < %(before)s::timestamptz
  AND (verified_at, digest) > (%(after_at)s::timestamptz, %(after_digest)s::bytea)
ORDER BY verified_at, digest LIMIT %(count)s::int

-- name: copies_bytes
SELECT coalesce(sum(size_bytes), 0)::bigint FROM mirror_copies WHERE mirror_id = %(mirror_id)s::uuid

-- name: copies_of
-- where good copies of these bytes lie, the one verified last first
SELECT m.id, m.repository_id, m.location, m.options, m.declared, m.status, m.status_reason, m.introduced_at,
       m.created_at
FROM mirror_copies c JOIN mirrors m ON m.id = c.mirror_id
WHERE c.digest = %(digest)s::bytea
ORDER BY c.verified_at DESC

-- name: sizes
SELECT mirror_id, count(*) AS copies, sum(size_bytes)::bigint AS size_bytes, min(verified_at) AS oldest_at
FROM mirror_copies WHERE %(id)s::uuid IS NULL OR mirror_id = %(id)s::uuid GROUP BY mirror_id

-- name: lacking_counts
SELECT m.id AS mirror_id, count(*) AS files FROM mirrors m
JOIN file_records f ON f.repository_id = m.repository_id AND f.outcome = 'asset' AND f.missing_since IS NULL
                   AND f.size_bytes > 0
WHERE (%(id)s::uuid IS NULL OR m.id = %(id)s::uuid)
  AND NOT EXISTS (SELECT 1 FROM mirror_copies c WHERE c.mirror_id = m.id AND c.digest = f.digest)
GROUP BY m.id

-- name: fewer_copies
-- originals of which there are fewer copies than wanted, the original itself included, and all originals
SELECT count(*) FILTER (WHERE 1 + (SELECT count(*) FROM mirror_copies c WHERE c.digest = f.digest) < %(wanted)s::int),
       count(*)
FROM file_records f WHERE f.outcome = 'asset' AND f.missing_since IS NULL

-- name: tail
-- the manifest that is not full yet
SELECT id, entries FROM mirror_manifests
WHERE mirror_id = %(mirror_id)s::uuid AND entries < %(full)s::int ORDER BY id LIMIT 1

-- name: unlisted
-- what the next manifest says: copies that none names, and those of the one it replaces
SELECT encode(c.digest, 'hex') AS digest, c.size_bytes, c.asset_id, f.path, a.original_filename AS filename
FROM mirror_copies c
LEFT JOIN assets a ON a.id = c.asset_id
LEFT JOIN file_records f ON f.asset_id = c.asset_id AND f.outcome = 'asset'
WHERE c.mirror_id = %(mirror_id)s::uuid
  AND (c.manifest_id IS NULL OR c.manifest_id = %(replaced)s::uuid)
ORDER BY c.manifest_id NULLS LAST, c.stored_at, c.digest LIMIT %(count)s::int

-- name: has_unlisted
SELECT EXISTS (SELECT 1 FROM mirror_copies WHERE mirror_id = %(mirror_id)s::uuid AND manifest_id IS NULL)

-- name: put_manifest
INSERT INTO mirror_manifests (id, mirror_id, entries) VALUES (%(id)s, %(mirror_id)s, %(entries)s)

-- name: list_in
UPDATE mirror_copies SET manifest_id = %(manifest_id)s::uuid
WHERE mirror_id = %(mirror_id)s::uuid AND digest = ANY (%(digests)s::bytea[])

-- name: drop_manifest
DELETE FROM mirror_manifests WHERE id = %(id)s::uuid
