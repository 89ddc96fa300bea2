-- name: lock
-- whoever changes what is in the trash holds the rows of its assets first, in this order
SELECT id, deleted_at IS NOT NULL FROM assets WHERE id = ANY (%(ids)s::uuid[]) ORDER BY id FOR NO KEY UPDATE

-- name: states
SELECT asset_id, state FROM trash WHERE asset_id = ANY (%(ids)s::uuid[])

-- name: delete
WITH gone AS (
    UPDATE assets SET deleted_at = now(), updated_at = now()
    WHERE id = ANY (%(ids)s::uuid[]) AND deleted_at IS NULL RETURNING id, deleted_at)
INSERT INTO trash (asset_id, state, why, deleted_at, deleted_by)
SELECT id, 'trashed', %(why)s::text, deleted_at, %(by)s::uuid FROM gone RETURNING asset_id

-- name: movable
-- what is ours to move lies in the inbox; in the user area only what a person named
SELECT id FROM file_records
WHERE asset_id = ANY (%(ids)s::uuid[]) AND outcome IN ('asset', 'duplicate')
  AND (substring(path FROM 1 FOR 6) = 'inbox/'::bytea OR asset_id = ANY (%(with_files)s::uuid[]))
ORDER BY id FOR UPDATE

-- name: move
-- from now on these files belong to the trash, wherever they still lie: a scan has nothing to miss
WITH moved AS (
    DELETE FROM file_records f USING unnest(%(ids)s::uuid[], %(records)s::uuid[]) AS m (id, record)
    WHERE f.id = m.record
    RETURNING m.id, f.asset_id, f.repository_id, f.path, f.size_bytes, f.mtime_ns, f.inode, f.outcome, f.verified_at,
              f.checked_at),
kept AS (
    INSERT INTO trash_files (id, asset_id, repository_id, path, size_bytes, mtime_ns, inode, was_original, verified_at,
                             checked_at)
    SELECT id, asset_id, repository_id, path, size_bytes, mtime_ns, inode, outcome = 'asset', verified_at, checked_at
    FROM moved
    RETURNING asset_id, repository_id, was_original)
SELECT DISTINCT ON (asset_id) asset_id, repository_id FROM kept ORDER BY asset_id, was_original DESC

-- name: set_out
UPDATE trash SET state = 'retiring', refused = NULL, refused_at = NULL WHERE asset_id = ANY (%(ids)s::uuid[])

-- name: hide
-- the other files stay where they are, and say so
UPDATE file_records SET outcome = 'trashed', reason = NULL, updated_at = now()
WHERE asset_id = ANY (%(ids)s::uuid[]) AND outcome IN ('asset', 'duplicate')

-- name: waiting_jobs
-- what would only find that the original is away; it is asked for again with the asset
SELECT id FROM jobs
WHERE asset_id = ANY (%(ids)s::uuid[]) AND kind <> 'retire' AND state IN ('available', 'scheduled', 'retryable')
ORDER BY id FOR UPDATE SKIP LOCKED

-- name: promote
-- assets are served from the first further copy that is there, unless they have an original
UPDATE file_records SET outcome = 'asset', updated_at = now()
WHERE id IN (SELECT DISTINCT ON (d.asset_id) d.id FROM file_records d
             WHERE d.asset_id = ANY (%(ids)s::uuid[]) AND d.outcome = 'duplicate'
               AND NOT EXISTS (SELECT 1 FROM file_records o WHERE o.asset_id = d.asset_id AND o.outcome = 'asset')
             ORDER BY d.asset_id, d.missing_since IS NOT NULL, d.id)

-- name: retire_without_file
-- their bytes were replaced or removed by somebody; should they come again, they are restored with all they had
WITH gone AS (
    UPDATE assets SET deleted_at = now(), updated_at = now()
    WHERE id = ANY (%(ids)s::uuid[]) AND deleted_at IS NULL
      AND NOT EXISTS (SELECT 1 FROM file_records f WHERE f.asset_id = assets.id AND f.outcome <> 'sidecar')
    RETURNING id, deleted_at)
INSERT INTO trash (asset_id, state, why, deleted_at) SELECT id, 'trashed', 'no_file', deleted_at FROM gone
RETURNING asset_id

-- name: replaceable
-- the asset of the file at a place, when that is its only one
SELECT f.asset_id, f.size_bytes, f.mtime_ns, f.inode FROM file_records f JOIN assets a ON a.id = f.asset_id
WHERE f.repository_id = %(repository_id)s::uuid AND f.path = %(path)s::bytea AND f.outcome = 'asset'
  AND f.missing_since IS NULL AND a.deleted_at IS NULL AND a.owner_id = %(owner_id)s::uuid
  AND NOT EXISTS (SELECT 1 FROM file_records o WHERE o.asset_id = a.id AND o.outcome = 'duplicate')

-- name: leaving
-- the asset of a file that is on its way from a place into the trash
SELECT x.asset_id FROM trash_files x JOIN trash t USING (asset_id)
WHERE x.repository_id = %(repository_id)s::uuid AND x.path = %(path)s::bytea AND t.state = 'retiring'

-- name: items
SELECT t.asset_id, a.owner_id, a.type, a.original_filename, a.mime_type, a.size_bytes, encode(a.digest, 'hex') AS digest,
       t.state, t.why, t.deleted_at, t.deleted_by, g.kept_since, t.restore_wanted, t.refused, t.refused_at,
       (SELECT count(*) FROM file_records f WHERE f.asset_id = t.asset_id AND f.outcome = 'trashed'
                                               AND f.missing_since IS NULL) AS hidden
FROM trash t JOIN assets a ON a.id = t.asset_id JOIN trash_ages g ON g.asset_id = t.asset_id
WHERE t.asset_id = ANY (%(ids)s::uuid[])

-- name: files
SELECT id, asset_id, repository_id, path, size_bytes, mtime_ns, inode, was_original
FROM trash_files WHERE asset_id = ANY (%(ids)s::uuid[]) ORDER BY was_original DESC, id

-- name: page
-- latest first
SELECT asset_id FROM trash
WHERE %(before_at)s::timestamptz IS NULL
   OR (deleted_at, asset_id) < (%(before_at)s::timestamptz, %(before_id)s::uuid)
ORDER BY deleted_at DESC, asset_id DESC LIMIT %(count)s::int

-- name: totals
SELECT count(*), count(*) FILTER (WHERE refused IS NOT NULL), min(deleted_at),
       min(kept_since) FILTER (WHERE may_be_purged), count(*) FILTER (WHERE hidden)
FROM (SELECT t.refused, t.deleted_at, g.kept_since, h.hidden,
             NOT h.hidden OR EXISTS (SELECT 1 FROM trash_files x WHERE x.asset_id = t.asset_id) AS may_be_purged
      FROM trash t JOIN trash_ages g USING (asset_id) CROSS JOIN LATERAL (
          SELECT EXISTS (SELECT 1 FROM file_records f WHERE f.asset_id = t.asset_id AND f.outcome = 'trashed'
                                                        AND f.missing_since IS NULL) AS hidden) AS h) AS items

-- name: bytes
SELECT coalesce(sum(size_bytes), 0)::bigint, count(*) FROM trash_files

-- name: hidden_paths
SELECT repository_id, path FROM file_records WHERE asset_id = %(id)s::uuid AND outcome = 'trashed' ORDER BY id

-- name: retired
UPDATE trash SET state = 'trashed', restore_wanted = false WHERE asset_id = %(id)s::uuid AND state = 'retiring'

-- name: is_wanted
SELECT restore_wanted FROM trash WHERE asset_id = %(id)s::uuid AND state = 'retiring'

-- name: set_stat
UPDATE trash_files SET size_bytes = %(size_bytes)s::bigint, mtime_ns = %(mtime_ns)s::bigint, inode = %(inode)s::bigint
WHERE id = %(id)s::uuid

-- name: drop_files
DELETE FROM trash_files WHERE id = ANY (%(ids)s::uuid[])

-- name: want_back
UPDATE trash SET restore_wanted = true WHERE asset_id = %(id)s::uuid AND state = 'retiring'

-- name: set_back
UPDATE trash SET state = 'restoring', refused = NULL, refused_at = NULL
WHERE asset_id = %(id)s::uuid AND state IN ('trashed', 'purging')
  AND EXISTS (SELECT 1 FROM trash_files x WHERE x.asset_id = trash.asset_id)

-- name: demote
UPDATE file_records SET outcome = 'duplicate' WHERE asset_id = %(id)s::uuid AND outcome = 'asset'

-- name: unhide
-- an asset has one original: the first that is there, unless one came back from the trash
UPDATE file_records f SET updated_at = now(),
    outcome = CASE WHEN f.id = first.id AND NOT EXISTS (SELECT 1 FROM file_records o WHERE o.asset_id = %(id)s::uuid
                                                                                      AND o.outcome = 'asset')
              THEN 'asset' ELSE 'duplicate' END
FROM (SELECT id FROM file_records WHERE asset_id = %(id)s::uuid AND outcome = 'trashed'
      ORDER BY missing_since IS NOT NULL, id LIMIT 1) AS first
WHERE f.asset_id = %(id)s::uuid AND f.outcome = 'trashed'

-- name: doubt_hidden
-- they are there, but not what they were: they are looked at anew
UPDATE file_records SET outcome = 'pending', asset_id = NULL, digest = NULL, updated_at = now()
WHERE asset_id = %(id)s::uuid AND outcome = 'trashed' RETURNING id, repository_id

-- name: undelete
UPDATE assets SET deleted_at = NULL, updated_at = now() WHERE id = %(id)s::uuid

-- name: forget
DELETE FROM trash WHERE asset_id = %(id)s::uuid

-- name: original_repository
SELECT repository_id FROM file_records WHERE asset_id = %(id)s::uuid AND outcome = 'asset'

-- name: refuse
UPDATE trash SET state = 'trashed', refused = %(reason)s::text, refused_at = now()
WHERE asset_id = %(id)s::uuid AND state = ANY (%(states)s::text[])

-- name: at_rest
SELECT asset_id FROM trash WHERE state IN ('trashed', 'retiring', 'purging') AND asset_id > %(after)s::uuid
ORDER BY asset_id LIMIT %(count)s::int

-- name: count_at_rest
SELECT count(*) FROM trash
WHERE state IN ('trashed', 'retiring', 'purging') AND (%(ids)s::uuid[] IS NULL OR asset_id = ANY (%(ids)s::uuid[]))

-- name: count_live
SELECT count(*) FROM assets WHERE id = ANY (%(ids)s::uuid[]) AND deleted_at IS NULL

-- name: doom
-- not while something is made of it: what is made would have no owner
UPDATE trash SET state = 'doomed' WHERE asset_id = %(id)s::uuid AND state = 'purging'
  AND NOT EXISTS (SELECT 1 FROM jobs j WHERE j.asset_id = trash.asset_id AND j.state = 'running')

-- name: derivatives
-- the same bytes may be another owner's, too: they have one derivative
SELECT d.repository_id, d.path FROM derivatives d
WHERE d.asset_id = %(id)s::uuid
  AND NOT EXISTS (SELECT 1 FROM derivatives o WHERE o.path = d.path AND o.repository_id = d.repository_id
                    AND o.asset_id <> d.asset_id)
ORDER BY d.kind

-- name: drop_all_files
DELETE FROM trash_files WHERE asset_id = %(id)s::uuid

-- name: rest
-- what stayed in the user area keeps its asset, hidden
UPDATE trash SET state = 'trashed' WHERE asset_id = %(id)s::uuid AND state = 'doomed'
  AND EXISTS (SELECT 1 FROM file_records f WHERE f.asset_id = trash.asset_id AND f.outcome = 'trashed'
                                             AND f.missing_since IS NULL)

-- name: release_sidecars
UPDATE file_records SET asset_id = NULL, reason = 'its asset was purged' WHERE asset_id = %(id)s::uuid
  AND outcome NOT IN ('asset', 'duplicate', 'trashed')

-- name: delete_missing
DELETE FROM file_records WHERE asset_id = %(id)s::uuid AND outcome = 'trashed'

-- name: forget_doomed
DELETE FROM trash WHERE asset_id = %(id)s::uuid AND state = 'doomed'

-- name: delete_asset
DELETE FROM assets WHERE id = %(id)s::uuid

-- name: moving_without_job
-- missing work is a query: files on their way that nobody moves
SELECT t.asset_id, (SELECT x.repository_id FROM trash_files x WHERE x.asset_id = t.asset_id ORDER BY x.id LIMIT 1)
FROM trash t
WHERE t.state IN ('retiring', 'restoring') AND t.asset_id > %(after)s::uuid
  AND NOT EXISTS (SELECT 1 FROM jobs j WHERE j.kind = 'retire' AND j.unique_key = t.asset_id::text
                    AND j.state IN ('available', 'scheduled', 'running', 'retryable'))
ORDER BY t.asset_id LIMIT %(count)s::int

-- name: purge_without_job
SELECT EXISTS (SELECT 1 FROM trash WHERE state IN ('purging', 'doomed'))
   AND NOT EXISTS (SELECT 1 FROM jobs WHERE kind = 'purge' AND state IN ('available', 'scheduled', 'running', 'retryable'))

-- name: unknown
-- ids of files in a repository's trash that no row knows
SELECT id FROM unnest(%(ids)s::uuid[]) AS u (id)
WHERE NOT EXISTS (SELECT 1 FROM trash_files x WHERE x.id = u.id AND x.repository_id = %(repository_id)s::uuid)

-- name: adopt
-- a file put back that no row knew is looked at like any other
INSERT INTO file_records (id, repository_id, path, size_bytes, mtime_ns, inode, outcome, scan_generation)
VALUES (%(id)s, %(repository_id)s, %(path)s, %(size_bytes)s, %(mtime_ns)s, %(inode)s, 'pending',
        (SELECT scan_generation FROM repositories WHERE id = %(repository_id)s))
ON CONFLICT (repository_id, path) DO UPDATE SET outcome = 'pending', asset_id = NULL, digest = NULL, reason = NULL,
    scan_generation = excluded.scan_generation, missing_since = NULL, updated_at = now()
RETURNING id
