-- name: next_generation
UPDATE repositories SET scan_generation = scan_generation + 1 WHERE id = %(id)s::uuid RETURNING scan_generation

-- name: mounts
SELECT mounts FROM repositories WHERE id = %(id)s::uuid

-- name: set_mounts
UPDATE repositories SET mounts = %(mounts)s::bytea[] WHERE id = %(id)s::uuid

-- name: stretch
-- What a stretch of paths holds, as one digest that WalkedPage computes of what was met: paths, sizes, times, inodes
-- and times of change, then the paths that names decide. One row more than was met is enough to differ. name_at: only the files of
-- a folder itself, whose names begin there; 0: all.
SELECT sha256(int8send(count(*))
              || coalesce(string_agg(path, '\x00'::bytea ORDER BY path), ''::bytea)
              || coalesce(string_agg(int8send(size_bytes), ''::bytea ORDER BY path), ''::bytea)
              || coalesce(string_agg(int8send(mtime_ns), ''::bytea ORDER BY path), ''::bytea)
              || coalesce(string_agg(int8send(inode), ''::bytea ORDER BY path), ''::bytea)
              || coalesce(string_agg(int8send(coalesce(ctime_ns, -1)), ''::bytea ORDER BY path), ''::bytea)
              || coalesce(string_agg(path, '\x00'::bytea ORDER BY path) FILTER (WHERE outcome = 'ignored'), ''::bytea)),
       count(*), count(*) FILTER (WHERE outcome IN ('unreadable', 'too_large'))
FROM (SELECT path, size_bytes, mtime_ns, inode, ctime_ns, outcome FROM file_records
      WHERE repository_id = %(repository_id)s::uuid AND path > %(after)s::bytea AND path <= %(until)s::bytea
        AND missing_since IS NULL
        AND (%(name_at)s::int = 0 OR position('/'::bytea IN substring(path FROM %(name_at)s::int)) = 0)
      ORDER BY path LIMIT %(count)s::int) AS f

-- name: merge
-- One stretch that differs. A file whose size, times or inode changed is looked at anew, and one whose settings or
-- permissions may have changed; another keeps its outcome, and one whose time of change was not known is told it. What
-- holds an asset keeps that, and its own state, until it was looked at: were its job lost, the next scan sees it again.
-- What others recorded since the scan began they know better; what they are at work on is left, and not waited for while
-- so many others are held. Jobs come with the records. Nothing is joined but by an index of file_records, for nobody
-- knows how many rows the arrays have.
WITH walked AS MATERIALIZED (
    SELECT w.id, w.path, w.size_bytes, w.mtime_ns, w.inode, w.ctime_ns, l.reason,
           CASE WHEN l.path IS NULL THEN 'pending' ELSE 'ignored' END AS outcome,
           f.id AS record_id, f.outcome AS held, f.updated_at, f.scan_generation, f.missing_since IS NOT NULL AS is_back,
           -- a file just placed loses its staged name yet, which changes that time once more
           (f.ctime_ns IS DISTINCT FROM w.ctime_ns
               AND (f.ctime_ns IS NOT NULL OR f.updated_at < now() - interval '1 minute'))
               -- some file systems make up inodes whenever they are mounted
               OR f.inode <> w.inode AS is_touched,
           ((f.size_bytes, f.mtime_ns) IS DISTINCT FROM (w.size_bytes, w.mtime_ns)
            OR (%(keeps_inodes)s::bool AND f.inode <> w.inode)
            OR f.ctime_ns <> w.ctime_ns
            OR (l.path IS NOT NULL AND f.outcome NOT IN ('asset', 'duplicate', 'trashed', 'ignored'))
            OR (l.path IS NULL AND f.outcome IN ('ignored', 'unreadable', 'too_large'))) IS TRUE AS is_anew
    FROM unnest(%(ids)s::uuid[], %(paths)s::bytea[], %(sizes)s::bigint[], %(mtimes)s::bigint[], %(inodes)s::bigint[],
                %(ctimes)s::bigint[]) AS w (id, path, size_bytes, mtime_ns, inode, ctime_ns)
    LEFT JOIN unnest(%(left_out)s::bytea[], %(reasons)s::text[]) AS l (path, reason) ON l.path = w.path
    LEFT JOIN file_records f ON f.repository_id = %(repository_id)s::uuid AND f.path = w.path
                            AND f.path > %(after)s::bytea AND f.path <= %(until)s::bytea),
held AS MATERIALIZED (
    SELECT f.id FROM walked w
    JOIN file_records f ON f.repository_id = %(repository_id)s::uuid AND f.path = w.path
                       AND f.path > %(after)s::bytea AND f.path <= %(until)s::bytea AND f.id = w.record_id
    WHERE w.scan_generation < %(generation)s::bigint AND (w.is_anew OR w.is_back OR w.is_touched)
    FOR NO KEY UPDATE OF f SKIP LOCKED),
added AS (
    INSERT INTO file_records (id, repository_id, path, size_bytes, mtime_ns, inode, ctime_ns, outcome, reason,
                              scan_generation)
    SELECT w.id, %(repository_id)s::uuid, w.path, w.size_bytes, w.mtime_ns, w.inode, w.ctime_ns, w.outcome, w.reason,
           %(generation)s::bigint
    FROM walked w WHERE w.record_id IS NULL
    ON CONFLICT (repository_id, path) DO NOTHING
    RETURNING id, outcome),
changed AS (
    UPDATE file_records f SET
        -- an asset's file says what it was until somebody has looked what it is now
        size_bytes = CASE WHEN w.is_kept THEN f.size_bytes ELSE w.size_bytes END,
        mtime_ns = CASE WHEN w.is_kept THEN f.mtime_ns ELSE w.mtime_ns END,
        inode = CASE WHEN w.is_kept THEN f.inode ELSE w.inode END,
        ctime_ns = CASE WHEN w.is_kept THEN f.ctime_ns ELSE w.ctime_ns END, missing_since = NULL,
        outcome = CASE WHEN w.is_anew AND NOT w.is_kept THEN w.outcome ELSE f.outcome END,
        reason = CASE WHEN w.is_anew AND NOT w.is_kept THEN w.reason ELSE f.reason END,
        scan_generation = CASE WHEN w.is_anew OR w.is_back THEN %(generation)s::bigint ELSE f.scan_generation END,
        updated_at = CASE WHEN w.is_anew OR w.is_back THEN now() ELSE f.updated_at END
    FROM (SELECT *, is_anew AND outcome = 'pending' AND held IN ('asset', 'duplicate', 'trashed') AS is_kept
          FROM walked WHERE record_id IN (SELECT id FROM held)) w
    WHERE f.repository_id = %(repository_id)s::uuid AND f.path = w.path
      AND f.path > %(after)s::bytea AND f.path <= %(until)s::bytea
      AND f.id = w.record_id AND f.updated_at = w.updated_at AND f.scan_generation = w.scan_generation
    RETURNING f.id, f.outcome = 'pending' OR w.is_kept AS is_wanted, w.is_anew OR w.is_back AS is_anew, w.is_back),
enqueued AS (
    INSERT INTO jobs (id, kind, queue, state, priority, max_attempts, args, unique_key, scheduled_at, repository_id)
    SELECT (%(job_ids)s::uuid[])[row_number() OVER ()], %(kind)s::text, %(queue)s::text, 'available',
           %(priority)s::smallint, %(max_attempts)s::smallint,
           jsonb_build_object('file', t.id::text, 'repository', %(repository_id)s::uuid::text), 'file:' || t.id::text,
           now(), %(repository_id)s::uuid
    FROM (SELECT id FROM added WHERE outcome = 'pending'
          UNION ALL
          SELECT id FROM changed WHERE is_wanted AND is_anew) AS t
    ON CONFLICT (kind, unique_key)
        WHERE unique_key IS NOT NULL AND state IN ('available', 'scheduled', 'running', 'retryable')
        -- one that waits for a file to be written to its end need not any longer
        DO UPDATE SET scheduled_at = now()
        WHERE jobs.state = 'retryable' AND jobs.errors -> -1 ->> 'code' = 'unstable'
    RETURNING id = ANY (%(job_ids)s::uuid[]) AS is_new)
SELECT (SELECT count(*) FROM added WHERE outcome = 'pending'),
       (SELECT count(*) FROM changed WHERE is_wanted AND is_anew),
       (SELECT count(*) FROM enqueued WHERE is_new),
       (SELECT count(*) FROM walked WHERE record_id IS NOT NULL AND NOT is_back),
       (SELECT count(*) FROM changed WHERE is_back),
       -- others are at work on these, or have let them go
       (SELECT array_agg(path) FROM walked WHERE scan_generation < %(generation)s::bigint
                                             AND (is_anew OR is_back OR is_touched)
                                             AND record_id NOT IN (SELECT id FROM changed))

-- name: held_left_out
-- assets whose file became what a walk leaves out, a link above all; what lies in the inbox is a person's to say
SELECT DISTINCT asset_id FROM file_records
WHERE repository_id = %(repository_id)s::uuid AND path = ANY (%(paths)s::bytea[]) AND outcome = 'ignored'
  AND asset_id IS NOT NULL AND substring(path FROM 1 FOR 6) <> 'inbox/'::bytea
ORDER BY asset_id

-- name: release_left_out
UPDATE file_records SET asset_id = NULL, digest = NULL, updated_at = now()
WHERE repository_id = %(repository_id)s::uuid AND path = ANY (%(paths)s::bytea[]) AND outcome = 'ignored'
  AND asset_id = ANY (%(assets)s::uuid[])

-- name: step
-- where a stretch with very many records is to be divided
SELECT path FROM file_records
WHERE repository_id = %(repository_id)s::uuid AND path > %(after)s::bytea AND path <= %(until)s::bytea
ORDER BY path OFFSET %(count)s::int LIMIT 1

-- name: note_absent
-- What a stretch holds and the scan has not met. What was recorded since the scan began counts as met. name_at: only
-- the files of a folder itself, whose names begin there; 0: all.
INSERT INTO scan_absences (repository_id, generation, file_id, updated_at)
SELECT f.repository_id, %(generation)s::bigint, f.id, f.updated_at FROM file_records f
WHERE f.repository_id = %(repository_id)s::uuid AND f.path > %(after)s::bytea AND f.path <= %(until)s::bytea
  AND f.missing_since IS NULL AND f.scan_generation < %(generation)s::bigint
  AND (%(name_at)s::int = 0 OR position('/'::bytea IN substring(f.path FROM %(name_at)s::int)) = 0)
  AND f.path NOT IN (SELECT unnest(%(paths)s::bytea[]))
ON CONFLICT DO NOTHING

-- name: latest
-- whether no other scan has begun since; none begins before this transaction ends
SELECT scan_generation = %(generation)s::bigint FROM repositories WHERE id = %(repository_id)s::uuid FOR NO KEY UPDATE

-- name: note_unread
-- what lies below folders, beyond a path of each and before another
UPDATE scan_absences a SET is_unread = true
FROM unnest(%(above)s::bytea[], %(behind)s::bytea[]) AS u (above, behind)
CROSS JOIN LATERAL (SELECT n.id FROM file_records n
                    WHERE n.repository_id = %(repository_id)s::uuid AND n.path > u.above AND n.path < u.behind
                    OFFSET 0) AS f
WHERE a.repository_id = %(repository_id)s::uuid AND a.generation = %(generation)s::bigint AND a.file_id = f.id

-- name: count_absent
SELECT count(*) FROM scan_absences a
JOIN file_records f ON f.id = a.file_id AND f.updated_at = a.updated_at
WHERE a.repository_id = %(repository_id)s::uuid AND a.generation = %(generation)s::bigint AND NOT a.is_unread
  AND f.missing_since IS NULL AND f.scan_generation < %(generation)s::bigint

-- name: absent
-- some of them, what a person was not asked about before what is held
SELECT a.file_id FROM scan_absences a
JOIN file_records f ON f.id = a.file_id AND f.updated_at = a.updated_at
LEFT JOIN held_files h ON h.repository_id = a.repository_id AND h.file_id = a.file_id
WHERE a.repository_id = %(repository_id)s::uuid AND a.generation = %(generation)s::bigint AND NOT a.is_unread
  AND f.missing_since IS NULL AND f.scan_generation < %(generation)s::bigint
ORDER BY h.file_id IS NOT NULL LIMIT %(count)s::int

-- name: unsure
-- What was not met and was written since, by others than this scan: whether it is there still has to be asked again. So it
-- has of what made way (make_way of moves.sql) in a scan that failed then: the next one need not come by there.
SELECT f.path FROM scan_absences a JOIN file_records f ON f.id = a.file_id
WHERE a.repository_id = %(repository_id)s::uuid AND a.generation <= %(generation)s::bigint
  AND CASE WHEN a.generation < %(generation)s::bigint THEN f.ctime_ns = -1 ELSE f.updated_at <> a.updated_at END
  AND f.repository_id = a.repository_id
  AND f.missing_since IS NULL AND f.scan_generation < %(generation)s::bigint
LIMIT %(count)s::int

-- name: count_present
SELECT count(*) FROM file_records WHERE repository_id = %(repository_id)s::uuid AND missing_since IS NULL

-- name: hold_absent
-- whoever gives a file to one of these assets in this moment, or takes one, is waited for
SELECT s.id FROM assets s
WHERE s.id IN (SELECT asset_id FROM file_records WHERE id = ANY (%(ids)s::uuid[]) AND outcome IN ('asset', 'duplicate'))
ORDER BY s.id FOR NO KEY UPDATE

-- name: mark_missing
-- those of them that nobody has written since
UPDATE file_records f SET missing_since = now(), updated_at = now()
FROM scan_absences a
WHERE a.repository_id = %(repository_id)s::uuid AND a.generation = %(generation)s::bigint
  AND a.file_id = ANY (%(ids)s::uuid[]) AND f.id = a.file_id AND f.updated_at = a.updated_at
  AND f.missing_since IS NULL AND f.scan_generation < %(generation)s::bigint

-- name: forget_absences
DELETE FROM scan_absences WHERE repository_id = %(repository_id)s::uuid AND generation <= %(generation)s::bigint

-- name: lacks_jobs
-- Whether fewer jobs of files are open than files wait: then some have none. A twentieth of the work of looking them up.
SELECT (SELECT count(*) FROM file_records
        WHERE outcome = 'pending' AND missing_since IS NULL AND (repository_id = %(repository_id)s::uuid) IS TRUE)
       > (SELECT count(*) FROM jobs
          WHERE kind = 'ingest' AND unique_key >= 'file:' AND unique_key < 'file;'
            AND state IN ('available', 'scheduled', 'running', 'retryable') AND repository_id = %(repository_id)s::uuid)

-- name: in_order
-- a page at a time, by the index of what is pending alone: whatever else is chosen reads all that is left for each page
SELECT set_config('enable_bitmapscan', 'off', true), set_config('enable_seqscan', 'off', true)

-- name: pending_without_job
-- Of so many files that wait to be ingested, those whose job is lost or given up, and the last one looked at. Each is
-- looked up by itself: a join of tables whose statistics are old may compare everything with everything.
SELECT array_agg(f.id) FILTER (WHERE NOT f.has_job), (array_agg(f.id ORDER BY f.id DESC))[1]
FROM (SELECT p.id, coalesce(j.is_open, false) AS has_job
      FROM (SELECT id FROM file_records
            WHERE outcome = 'pending' AND missing_since IS NULL AND (repository_id = %(repository_id)s::uuid) IS TRUE
              AND id > %(after)s::uuid
            ORDER BY id LIMIT %(count)s::int) AS p
      LEFT JOIN LATERAL (SELECT true AS is_open FROM jobs j
                         WHERE j.kind = 'ingest' AND j.unique_key = 'file:' || p.id::text
                           AND j.state IN ('available', 'scheduled', 'running', 'retryable') LIMIT 1) AS j ON true) AS f

-- name: successors
-- originals that are missing while another file has the same bytes
SELECT DISTINCT ON (m.asset_id) m.id, d.id, m.asset_id
FROM file_records m
JOIN file_records d ON d.asset_id = m.asset_id AND d.outcome = 'duplicate' AND d.missing_since IS NULL
WHERE m.repository_id = %(repository_id)s::uuid AND m.outcome = 'asset' AND m.missing_since IS NOT NULL
ORDER BY m.asset_id, d.id

-- name: taken_away
-- the assets of files that are missing from where only people put and take
SELECT DISTINCT asset_id FROM file_records
WHERE repository_id = %(repository_id)s::uuid AND missing_since IS NOT NULL AND outcome <> 'trashed'
  AND asset_id IS NOT NULL AND substring(path FROM 1 FOR 6) <> 'inbox/'::bytea

-- name: forget_taken_away
-- what is ours, and what is in the trash, a person decides about
DELETE FROM file_records
WHERE repository_id = %(repository_id)s::uuid AND missing_since IS NOT NULL AND outcome <> 'trashed'
  AND substring(path FROM 1 FOR 6) <> 'inbox/'::bytea

-- name: remove_all
DELETE FROM file_records WHERE id = ANY (%(ids)s::uuid[])

-- name: promote_all
UPDATE file_records SET outcome = 'asset', updated_at = now() WHERE id = ANY (%(ids)s::uuid[])
