-- name: now
SELECT now()

-- name: totals
-- what is to be read within a period
SELECT count(*), coalesce(sum(size_bytes), 0)::bigint FROM kept_files
WHERE repository_id = ANY (%(repositories)s::uuid[])

-- name: next_files
-- the ones looked at longest ago first; where a pass stands is its position, so nothing is read twice
SELECT id, repository_id, path, size_bytes, mtime_ns, inode, asset_id, encode(digest, 'hex') AS digest, at::text AS position
FROM ((SELECT id, repository_id, path, size_bytes, mtime_ns, inode, asset_id, digest,
              coalesce(checked_at, '-infinity') AS at
       FROM file_records
       WHERE outcome IN ('asset', 'duplicate') AND repository_id = ANY (%(repositories)s::uuid[])
         AND coalesce(checked_at, '-infinity') < %(before)s::timestamptz
         AND (coalesce(checked_at, '-infinity'), id) > (%(after_at)s::timestamptz, %(after_id)s::uuid)
       ORDER BY coalesce(checked_at, '-infinity'), id LIMIT %(count)s::int)
      UNION ALL
      (SELECT x.id, x.repository_id, convert_to('.lumilio/trash/' || x.id::text, 'UTF8'), x.size_bytes, x.mtime_ns,
              x.inode, x.asset_id, a.digest, coalesce(x.checked_at, '-infinity')
       FROM trash_files x JOIN trash t ON t.asset_id = x.asset_id JOIN assets a ON a.id = x.asset_id
       WHERE t.state IN ('trashed', 'purging') AND x.repository_id = ANY (%(repositories)s::uuid[])
         AND coalesce(x.checked_at, '-infinity') < %(before)s::timestamptz
         AND (coalesce(x.checked_at, '-infinity'), x.id) > (%(after_at)s::timestamptz, %(after_id)s::uuid)
       ORDER BY coalesce(x.checked_at, '-infinity'), x.id LIMIT %(count)s::int)) AS next
ORDER BY at, id LIMIT %(count)s::int

-- name: files_of_asset
SELECT id, repository_id, path, size_bytes, mtime_ns, inode, asset_id, encode(digest, 'hex') AS digest,
       coalesce(checked_at, '-infinity')::text AS position
FROM kept_files
WHERE asset_id = %(asset_id)s::uuid AND coalesce(checked_at, '-infinity') < %(before)s::timestamptz
ORDER BY id

-- name: file
-- also one that is being looked at anew, or moved: its bytes are expected until then
SELECT id, repository_id, path, size_bytes, mtime_ns, inode, asset_id, encode(digest, 'hex') AS digest,
       coalesce(checked_at, '-infinity')::text AS position
FROM file_records WHERE id = %(id)s::uuid AND asset_id IS NOT NULL AND digest IS NOT NULL
UNION ALL
SELECT x.id, x.repository_id, convert_to('.lumilio/trash/' || x.id::text, 'UTF8'), x.size_bytes, x.mtime_ns, x.inode,
       x.asset_id, encode(a.digest, 'hex'), coalesce(x.checked_at, '-infinity')::text
FROM trash_files x JOIN assets a ON a.id = x.asset_id WHERE x.id = %(id)s::uuid

-- name: size_of
SELECT size_bytes FROM assets WHERE id = %(id)s::uuid

-- name: stamp
-- only what the verdict is about: a record that expects other bytes now was not looked at
UPDATE file_records
SET checked_at = now(), verified_at = CASE WHEN %(good)s::boolean THEN now() ELSE verified_at END
WHERE id = %(id)s::uuid AND digest = %(digest)s::bytea

-- name: stamp_in_trash
UPDATE trash_files x
SET checked_at = now(), verified_at = CASE WHEN %(good)s::boolean THEN now() ELSE verified_at END
FROM assets a WHERE a.id = x.asset_id AND x.id = %(id)s::uuid AND a.digest = %(digest)s::bytea

-- name: settle_in_trash
-- good bytes lie there: on another disk, or in a file of their own since they were healed
UPDATE trash_files x SET size_bytes = %(size_bytes)s::bigint, mtime_ns = %(mtime_ns)s::bigint,
    inode = %(inode)s::bigint, verified_at = now(), checked_at = now()
FROM assets a WHERE a.id = x.asset_id AND x.id = %(id)s::uuid AND a.digest = %(digest)s::bytea

-- name: reopen
-- somebody wrote it: it is looked at anew, as a scan that meets it would have it, and is what it was until then
UPDATE file_records SET updated_at = now()
WHERE id = %(id)s::uuid AND digest = %(digest)s::bytea

-- name: settle_healed
-- good bytes stand there again, in a file of their own
UPDATE file_records SET size_bytes = %(size_bytes)s::bigint, mtime_ns = %(mtime_ns)s::bigint,
    inode = %(inode)s::bigint, ctime_ns = NULL, missing_since = NULL, verified_at = now(), checked_at = now(),
    updated_at = now()
WHERE id = %(id)s::uuid AND digest = %(digest)s::bytea

-- name: coverage
SELECT repository_id, count(*) AS files, sum(size_bytes)::bigint AS size_bytes,
       count(*) FILTER (WHERE verified_at >= now() - make_interval(days => %(days)s::int)) AS verified,
       coalesce(sum(size_bytes) FILTER (WHERE verified_at >= now() - make_interval(days => %(days)s::int)), 0)::bigint
           AS verified_bytes,
       count(*) FILTER (WHERE verified_at IS NULL) AS never, min(verified_at) AS oldest_at
FROM kept_files GROUP BY repository_id

-- name: twins
-- other files with the same bytes, which nothing is known against; of what is in the trash hidden ones, too
SELECT id, repository_id, path, size_bytes, mtime_ns, inode, asset_id, encode(digest, 'hex') AS digest,
       coalesce(checked_at, '-infinity')::text AS position
FROM (SELECT id, repository_id, path, size_bytes, mtime_ns, inode, asset_id, digest, checked_at, verified_at
      FROM file_records
      WHERE asset_id = %(asset_id)s::uuid AND outcome IN ('asset', 'duplicate', 'trashed') AND missing_since IS NULL
      UNION ALL
      SELECT id, repository_id, path, size_bytes, mtime_ns, inode, asset_id, digest, checked_at, verified_at
      FROM kept_files WHERE asset_id = %(asset_id)s::uuid AND substring(path FROM 1 FOR 9) = '.lumilio/'::bytea) AS f
WHERE f.digest = %(digest)s::bytea AND f.id IS DISTINCT FROM %(except_id)s::uuid
  AND NOT EXISTS (SELECT 1 FROM findings n WHERE n.file_id = f.id AND n.state IN ('open', 'ignored'))
ORDER BY f.verified_at DESC NULLS LAST

-- name: generation
-- what is adopted counts as seen by a scan under way
SELECT scan_generation FROM repositories WHERE id = %(id)s::uuid

-- name: unknown_files
-- what is on its way into the trash has no record any more
SELECT p.path FROM unnest(%(paths)s::bytea[]) AS p (path)
WHERE NOT EXISTS (SELECT 1 FROM file_records f
                  WHERE f.repository_id = %(repository_id)s::uuid AND f.path = p.path)
  AND NOT EXISTS (SELECT 1 FROM trash_files t
                  WHERE t.repository_id = %(repository_id)s::uuid AND t.path = p.path)

-- name: unknown_derivatives
-- a row may name a file, or a folder of many, and what made room is not to be there; paths are relative to .lumilio
SELECT p.path FROM unnest(%(paths)s::text[], %(folders)s::text[]) AS p (path, folder)
WHERE NOT EXISTS (SELECT 1 FROM derivatives d WHERE d.repository_id = %(repository_id)s::uuid
                    AND d.path IN (p.path, p.folder) AND d.evicted_at IS NULL)

-- name: relax
-- that a file is good may be forgotten in a power cut: it is read again then
SELECT set_config('synchronous_commit', 'off', true)
