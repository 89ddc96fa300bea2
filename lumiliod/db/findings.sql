-- name: close_others
-- a place has one finding at a time
UPDATE findings SET state = 'resolved', closed_at = now()
WHERE repository_id = %(repository_id)s::uuid AND mirror_id IS NOT DISTINCT FROM %(mirror_id)s::uuid
  AND path = %(path)s::bytea AND state IN ('open', 'ignored')
  AND (kind, digest) IS DISTINCT FROM (%(kind)s::text, %(digest)s::bytea)

-- name: report
INSERT INTO findings (id, kind, code, repository_id, mirror_id, file_id, asset_id, path, digest, size_bytes, mtime_ns,
                      inode, detail)
VALUES (%(id)s, %(kind)s, %(code)s, %(repository_id)s, %(mirror_id)s, %(file_id)s, %(asset_id)s, %(path)s, %(digest)s,
        %(size_bytes)s, %(mtime_ns)s, %(inode)s, %(detail)s)
ON CONFLICT (repository_id, mirror_id, path) WHERE state IN ('open', 'ignored') DO UPDATE SET
    last_seen_at = now(), code = excluded.code, detail = excluded.detail, file_id = excluded.file_id,
    asset_id = excluded.asset_id, size_bytes = excluded.size_bytes, mtime_ns = excluded.mtime_ns,
    inode = excluded.inode
RETURNING id, state

-- name: close_of_file
UPDATE findings SET state = %(state)s::text, closed_at = now()
WHERE file_id = %(file_id)s::uuid AND mirror_id IS NULL AND state IN ('open', 'ignored')

-- name: close_of_copy
UPDATE findings SET state = %(state)s::text, closed_at = now()
WHERE mirror_id = %(mirror_id)s::uuid AND path = %(path)s::bytea AND state IN ('open', 'ignored')

-- name: close
UPDATE findings SET state = %(state)s::text, closed_at = now()
WHERE id = %(id)s::uuid AND state IN ('open', 'ignored')

-- name: close_healed
-- whoever met the good bytes before their row was written has called it resolved
UPDATE findings SET state = 'healed', closed_at = coalesce(closed_at, now()) WHERE id = %(id)s::uuid

-- name: ignore
UPDATE findings SET state = 'ignored' WHERE id = ANY (%(ids)s::uuid[]) AND state = 'open' RETURNING id

-- name: notice
UPDATE findings SET state = 'open' WHERE id = ANY (%(ids)s::uuid[]) AND state = 'ignored' RETURNING id

-- name: states
SELECT id, state FROM findings WHERE id = ANY (%(ids)s::uuid[])

-- name: close_unmet
-- orphans that a complete walk did not meet again
UPDATE findings SET state = 'resolved', closed_at = now()
WHERE repository_id = %(repository_id)s::uuid AND kind = 'untracked' AND state IN ('open', 'ignored')
  AND last_seen_at < %(before)s::timestamptz

-- name: close_settled
-- what does not hold any more, whoever settled it
UPDATE findings SET state = 'resolved', closed_at = now()
WHERE state = 'open' AND NOT EXISTS (SELECT 1 FROM standing_findings s WHERE s.id = findings.id)

-- name: finding
SELECT id, kind, code, state, repository_id, mirror_id, file_id, asset_id, path, encode(digest, 'hex') AS digest,
       size_bytes, mtime_ns, inode, detail, first_seen_at, last_seen_at, closed_at
FROM findings WHERE id = %(id)s::uuid

-- name: finding_of_file
SELECT id, kind, code, state, repository_id, mirror_id, file_id, asset_id, path, encode(digest, 'hex') AS digest,
       size_bytes, mtime_ns, inode, detail, first_seen_at, last_seen_at, closed_at
FROM findings WHERE file_id = %(file_id)s::uuid AND mirror_id IS NULL AND state IN ('open', 'ignored')
ORDER BY id DESC LIMIT 1

-- name: standing
SELECT id, kind, code, state, repository_id, mirror_id, file_id, asset_id, path, encode(digest, 'hex') AS digest,
       size_bytes, mtime_ns, inode, detail, first_seen_at, last_seen_at, closed_at
FROM standing_findings
WHERE (%(ids)s::uuid[] IS NULL OR id = ANY (%(ids)s::uuid[])) AND id > %(after)s::uuid
ORDER BY id LIMIT %(count)s::int

-- name: page
-- the newest first; open ones only while they hold
SELECT id, kind, code, state, repository_id, mirror_id, file_id, asset_id, path, encode(digest, 'hex') AS digest,
       size_bytes, mtime_ns, inode, detail, first_seen_at, last_seen_at, closed_at
FROM findings
WHERE (%(state)s::text IS NULL OR state = %(state)s::text) AND (%(kind)s::text IS NULL OR kind = %(kind)s::text)
  AND (%(repository_id)s::uuid IS NULL OR repository_id = %(repository_id)s::uuid)
  AND (%(before)s::uuid IS NULL OR id < %(before)s::uuid)
  AND (state <> 'open' OR EXISTS (SELECT 1 FROM standing_findings s WHERE s.id = findings.id))
ORDER BY id DESC LIMIT %(count)s::int

-- name: counts
SELECT kind, count(*) FROM standing_findings GROUP BY kind
