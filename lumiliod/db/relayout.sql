-- name: inbox
-- every file of an inbox, originals first: a further copy goes where its original went
SELECT f.id, f.path, f.outcome, f.size_bytes, f.missing_since IS NOT NULL AS is_missing, f.asset_id,
       encode(f.digest, 'hex') AS digest, a.original_filename, a.mime_type, a.taken_at_local
FROM file_records f LEFT JOIN assets a ON a.id = f.asset_id
WHERE f.repository_id = %(repository_id)s::uuid AND f.path >= 'inbox/'::bytea AND f.path < 'inbox0'::bytea
ORDER BY f.outcome <> 'asset', f.path

-- name: staying
-- what no layout touches: files of the user area with their bytes, and files in the trash
SELECT count(*), coalesce(sum(size_bytes), 0)::bigint,
       (SELECT count(*) FROM trash_files t WHERE t.repository_id = %(repository_id)s::uuid)
FROM file_records
WHERE repository_id = %(repository_id)s::uuid AND missing_since IS NULL
  AND NOT (path >= 'inbox/'::bytea AND path < 'inbox0'::bytea)

-- name: insert
INSERT INTO relayouts (id, repository_id, from_strategy, to_strategy, verify, job_id)
VALUES (%(id)s, %(repository_id)s, %(from_strategy)s, %(to_strategy)s, %(verify)s, %(job_id)s)
ON CONFLICT (repository_id) WHERE state IN ('running', 'undoing') DO NOTHING

-- name: add_moves
INSERT INTO relayout_moves (relayout_id, seq, record_id, owner_id, asset_id, digest, from_path, to_path, wanted)
SELECT %(relayout_id)s::uuid, %(after)s::int + m.n, m.record_id, m.owner_id, m.asset_id, decode(m.digest, 'hex'),
       m.from_path, m.to_path, m.wanted
FROM unnest(%(records)s::uuid[], %(owners)s::uuid[], %(assets)s::uuid[], %(digests)s::text[], %(froms)s::bytea[],
            %(tos)s::bytea[], %(wanteds)s::bytea[])
    WITH ORDINALITY AS m (record_id, owner_id, asset_id, digest, from_path, to_path, wanted, n)
ON CONFLICT (relayout_id, record_id) DO NOTHING

-- name: last_seq
SELECT coalesce(max(seq), 0) FROM relayout_moves WHERE relayout_id = %(id)s::uuid

-- name: planned
SELECT record_id FROM relayout_moves WHERE relayout_id = %(id)s::uuid

-- name: get
SELECT id, repository_id, from_strategy, to_strategy, state, verify, job_id, halted, created_at, finished_at
FROM relayouts WHERE id = %(id)s::uuid

-- name: latest
-- the one that can be gone on with or undone; else the last
SELECT id, repository_id, from_strategy, to_strategy, state, verify, job_id, halted, created_at, finished_at
FROM relayouts WHERE repository_id = %(repository_id)s::uuid
ORDER BY state = 'undone', id DESC LIMIT 1

-- name: go_on
UPDATE relayouts SET state = %(state)s::text, job_id = %(job_id)s::uuid, halted = false, finished_at = NULL
WHERE id = %(id)s::uuid

-- name: halt
-- what a person cancelled goes on only when a person wants it
UPDATE relayouts SET halted = true
WHERE state IN ('running', 'undoing') AND NOT halted
  AND EXISTS (SELECT 1 FROM job_history h WHERE h.id = relayouts.job_id AND h.state = 'cancelled')

-- name: without_job
-- missing work is a query: re-layouts that are not at their end and that no job does
SELECT r.id, r.repository_id FROM relayouts r
WHERE r.state IN ('running', 'undoing') AND NOT r.halted AND r.id > %(after)s::uuid
  AND NOT EXISTS (SELECT 1 FROM jobs j WHERE j.kind = 'relayout' AND j.unique_key = r.repository_id::text
                    AND j.state IN ('available', 'scheduled', 'running', 'retryable'))
ORDER BY r.id LIMIT %(count)s::int

-- name: set_job
UPDATE relayouts SET job_id = %(job_id)s::uuid WHERE id = %(id)s::uuid

-- name: set_strategy
UPDATE repositories SET storage_strategy = %(strategy)s::text WHERE id = %(id)s::uuid

-- name: counts
SELECT count(*) FILTER (WHERE state = 'pending') AS pending, count(*) FILTER (WHERE state = 'done') AS done,
       count(*) FILTER (WHERE state = 'undone') AS undone, count(*) FILTER (WHERE state = 'skipped') AS skipped,
       count(*) FILTER (WHERE merged) AS merged, count(*) AS total
FROM relayout_moves WHERE relayout_id = %(id)s::uuid

-- name: troubles
-- what did not go as planned, with why
SELECT seq, from_path, to_path, state, reason FROM relayout_moves
WHERE relayout_id = %(id)s::uuid AND reason IS NOT NULL ORDER BY seq LIMIT %(count)s::int

-- name: ahead
SELECT seq FROM relayout_moves
WHERE relayout_id = %(id)s::uuid AND seq > %(after)s::int AND state = 'pending'
ORDER BY seq LIMIT %(count)s::int

-- name: behind
-- backwards: what was moved last is moved back first
SELECT seq FROM relayout_moves
WHERE relayout_id = %(id)s::uuid AND seq < %(before)s::int AND state IN ('pending', 'done')
ORDER BY seq DESC LIMIT %(count)s::int

-- name: move
SELECT m.seq, m.record_id, m.owner_id, m.asset_id, encode(m.digest, 'hex') AS digest, m.from_path, m.to_path,
       m.wanted, m.state, m.merged, f.path, f.outcome, f.size_bytes, f.mtime_ns, f.inode, f.asset_id AS record_asset_id
FROM relayout_moves m
LEFT JOIN file_records f ON f.id = m.record_id
WHERE m.relayout_id = %(id)s::uuid AND m.seq = %(seq)s::int

-- name: lock_asset
-- as whoever changes what is in the trash does, so that no file is moved by two at once
SELECT id FROM assets WHERE id = %(id)s::uuid FOR NO KEY UPDATE

-- name: lock_relayout
SELECT state FROM relayouts WHERE id = %(id)s::uuid FOR SHARE

-- name: lock_move
SELECT state FROM relayout_moves WHERE relayout_id = %(id)s::uuid AND seq = %(seq)s::int FOR UPDATE

-- name: lock_record
SELECT path, outcome, asset_id, size_bytes, mtime_ns, inode FROM file_records WHERE id = %(id)s::uuid FOR UPDATE

-- name: owner_move
SELECT from_path, to_path, state FROM relayout_moves
WHERE relayout_id = %(id)s::uuid AND record_id = %(record_id)s::uuid

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
-- it counts as seen by a scan under way, which may have passed either name
UPDATE file_records SET path = %(path)s::bytea, size_bytes = %(size_bytes)s::bigint, mtime_ns = %(mtime_ns)s::bigint,
    inode = %(inode)s::bigint, outcome = CASE WHEN %(promoted)s::boolean THEN 'asset' ELSE outcome END,
    missing_since = NULL, updated_at = now(),
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
    inode = excluded.inode, digest = excluded.digest, asset_id = excluded.asset_id, reason = NULL, missing_since = NULL,
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

-- name: end_move
UPDATE relayout_moves SET state = %(state)s::text, to_path = coalesce(%(to_path)s::bytea, to_path),
    record_id = CASE WHEN EXISTS (SELECT 1 FROM relayout_moves o
                                  WHERE o.relayout_id = %(id)s::uuid AND o.record_id = %(record_id)s::uuid)
                     THEN record_id ELSE %(record_id)s::uuid END,
    merged = %(merged)s::boolean, reason = %(reason)s::text, moved_at = now()
WHERE relayout_id = %(id)s::uuid AND seq = %(seq)s::int

-- name: follow
-- a sidecar follows the record that took the place of its owner's
UPDATE relayout_moves SET owner_id = %(record_id)s::uuid
WHERE relayout_id = %(id)s::uuid AND owner_id = %(before)s::uuid

-- name: folders
-- where files were that have moved
SELECT DISTINCT from_path, to_path FROM relayout_moves
WHERE relayout_id = %(id)s::uuid AND state = %(state)s::text

-- name: finish
UPDATE relayouts SET state = %(state)s::text, finished_at = now() WHERE id = %(id)s::uuid

-- name: misled
-- who looked for a file at its old name, found nothing and gave up
SELECT j.id FROM jobs j JOIN relayout_moves m ON m.asset_id = j.asset_id
WHERE m.relayout_id = %(id)s::uuid AND j.state = 'discarded' AND j.cause = 'original_missing'
  AND j.finished_at >= (SELECT r.created_at FROM relayouts r WHERE r.id = %(id)s::uuid)
