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

-- name: ways_back
-- what undoing would do by the records, in the order of undoing; without a reason it moves
SELECT m.from_path, m.to_path, m.merged, coalesce(f.size_bytes, 0) AS size_bytes,
       CASE WHEN m.merged AND m.state = 'done' THEN NULL
            WHEN f.id IS NULL THEN 'record_gone'
            WHEN f.path = m.from_path THEN 'in_place'
            WHEN f.path <> m.to_path THEN 'moved_elsewhere'
            WHEN f.missing_since IS NOT NULL THEN 'missing'
            WHEN f.asset_id IS DISTINCT FROM m.asset_id THEN 'changed'
            WHEN EXISTS (SELECT 1 FROM file_records o
                         WHERE o.repository_id = f.repository_id AND o.path = m.from_path) THEN 'name_taken'
       END AS stays
FROM relayout_moves m
LEFT JOIN file_records f ON f.id = m.record_id
WHERE m.relayout_id = %(id)s::uuid AND m.state IN ('pending', 'done')
ORDER BY m.seq DESC

-- name: move
SELECT m.seq, m.record_id, m.owner_id, m.asset_id, encode(m.digest, 'hex') AS digest, m.from_path, m.to_path,
       m.wanted, m.state, m.merged, f.path, f.outcome, f.size_bytes, f.mtime_ns, f.inode, f.asset_id AS record_asset_id
FROM relayout_moves m
LEFT JOIN file_records f ON f.id = m.record_id
WHERE m.relayout_id = %(id)s::uuid AND m.seq = %(seq)s::int

-- name: owner_move
SELECT from_path, to_path, state FROM relayout_moves
WHERE relayout_id = %(id)s::uuid AND record_id = %(record_id)s::uuid

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

-- name: misled
-- who looked for a file at its old name, found nothing and gave up
SELECT j.id FROM jobs j JOIN relayout_moves m ON m.asset_id = j.asset_id
WHERE m.relayout_id = %(id)s::uuid AND j.state = 'discarded' AND j.cause = 'original_missing'
  AND j.finished_at >= (SELECT r.created_at FROM relayouts r WHERE r.id = %(id)s::uuid)
