-- name: now
SELECT now()

-- name: totals
-- what is to be read within a period
SELECT count(*), coalesce(sum(size_bytes), 0)::bigint FROM kept_files
WHERE repository_id = ANY (%(repositories)s::uuid[])

-- name: begin_run
-- a job that comes again goes on with what it began
INSERT INTO integrity_runs (id, job_id, kind, mirror_id, budget_bytes)
VALUES (%(id)s, %(job_id)s, %(kind)s, %(mirror_id)s, %(budget_bytes)s)
ON CONFLICT ON CONSTRAINT integrity_runs_of_job DO UPDATE SET finished_at = NULL
RETURNING id, job_id, kind, mirror_id, budget_bytes, files, read_bytes, found, unstable, walked, started_at

-- name: run_of_job
SELECT id, job_id, kind, mirror_id, budget_bytes, files, read_bytes, found, unstable, walked, started_at
FROM integrity_runs WHERE job_id = %(job_id)s::uuid AND mirror_id IS NOT DISTINCT FROM %(mirror_id)s::uuid

-- name: last_scrub
-- what an earlier job left of its budget (or overdrew), and how long ago it began
SELECT budget_bytes - read_bytes, extract(epoch FROM now() - started_at)::float8
FROM integrity_runs
WHERE kind = 'scrub' AND mirror_id IS NOT DISTINCT FROM %(mirror_id)s::uuid AND job_id <> %(job_id)s::uuid
ORDER BY started_at DESC LIMIT 1

-- name: count
UPDATE integrity_runs SET files = files + 1, read_bytes = read_bytes + %(read_bytes)s::bigint,
    read_s = read_s + %(read_s)s::float8, found = found + %(found)s::int, unstable = unstable + %(unstable)s::int
WHERE id = %(id)s::uuid

-- name: count_found
UPDATE integrity_runs SET found = found + %(found)s::int, walked = walked OR %(walked)s::boolean
WHERE id = %(id)s::uuid

-- name: end_run
UPDATE integrity_runs SET finished_at = now() WHERE id = %(id)s::uuid

-- name: forget_runs
DELETE FROM integrity_runs WHERE started_at < now() - make_interval(days => %(days)s::int)

-- name: walked_at
SELECT max(started_at) FROM integrity_runs WHERE walked AND finished_at IS NOT NULL

-- name: speed
-- bytes a second of the last passes that read something, and when the last one began
SELECT sum(read_bytes) / nullif(sum(read_s), 0), max(started_at) FROM (
    SELECT read_bytes, read_s, started_at FROM integrity_runs
    WHERE mirror_id IS NULL AND read_bytes > 0 ORDER BY started_at DESC LIMIT 7) AS last

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
-- somebody wrote it: it is looked at anew, as a scan that meets it would have it
UPDATE file_records SET outcome = 'pending', size_bytes = %(size_bytes)s::bigint, mtime_ns = %(mtime_ns)s::bigint,
    inode = %(inode)s::bigint, updated_at = now()
WHERE id = %(id)s::uuid AND digest = %(digest)s::bytea

-- name: settle_healed
-- good bytes stand there again, in a file of their own
UPDATE file_records SET size_bytes = %(size_bytes)s::bigint, mtime_ns = %(mtime_ns)s::bigint,
    inode = %(inode)s::bigint, missing_since = NULL, verified_at = now(), checked_at = now(), updated_at = now()
WHERE id = %(id)s::uuid AND digest = %(digest)s::bytea

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
-- a row may name a file, or a folder of many; paths are relative to .lumilio
SELECT p.path FROM unnest(%(paths)s::text[], %(folders)s::text[]) AS p (path, folder)
WHERE NOT EXISTS (SELECT 1 FROM derivatives d WHERE d.repository_id = %(repository_id)s::uuid
                    AND d.path IN (p.path, p.folder))

-- name: relax
-- that a file is good may be forgotten in a power cut: it is read again then
SELECT set_config('synchronous_commit', 'off', true)
