-- name: age
-- not while a repository with something of it is away, as not while the daemon is off
UPDATE trash t SET aged_s = extract(epoch FROM now() - g.kept_since), aged_at = now()
FROM trash_ages g WHERE g.asset_id = t.asset_id
  AND NOT EXISTS (SELECT 1 FROM trash_away w WHERE w.asset_id = t.asset_id)

-- name: mark_due
-- An asset whose files all stayed in the user area is not purged: there is nothing of it in the trash, and the
-- next scan would take it for a new one. Nor is one that a repository which is away has something of.
UPDATE trash t SET state = 'purging', refused = NULL, refused_at = NULL
WHERE t.state = 'trashed'
  AND (%(ids)s::uuid[] IS NULL OR t.asset_id = ANY (%(ids)s::uuid[]))
  AND (%(older_s)s::float8 IS NULL OR t.deleted_at <= now() - make_interval(secs => %(older_s)s::float8))
  AND (%(aged_s)s::float8 IS NULL OR t.aged_s >= %(aged_s)s::float8)
  AND (EXISTS (SELECT 1 FROM trash_files x WHERE x.asset_id = t.asset_id)
       OR NOT EXISTS (SELECT 1 FROM file_records f WHERE f.asset_id = t.asset_id AND f.outcome = 'trashed'
                                                     AND f.missing_since IS NULL))
  AND NOT EXISTS (SELECT 1 FROM trash_away w WHERE w.asset_id = t.asset_id)
RETURNING t.asset_id

-- name: count_due
SELECT count(*) FROM trash t
WHERE t.state = 'trashed'
  AND (%(ids)s::uuid[] IS NULL OR t.asset_id = ANY (%(ids)s::uuid[]))
  AND (%(older_s)s::float8 IS NULL OR t.deleted_at <= now() - make_interval(secs => %(older_s)s::float8))
  AND (EXISTS (SELECT 1 FROM trash_files x WHERE x.asset_id = t.asset_id)
       OR NOT EXISTS (SELECT 1 FROM file_records f WHERE f.asset_id = t.asset_id AND f.outcome = 'trashed'
                                                     AND f.missing_since IS NULL))
  AND NOT EXISTS (SELECT 1 FROM trash_away w WHERE w.asset_id = t.asset_id)

-- name: why_not_due
-- of assets at rest that are not due
SELECT t.asset_id, CASE
    WHEN NOT EXISTS (SELECT 1 FROM trash_files x WHERE x.asset_id = t.asset_id)
     AND EXISTS (SELECT 1 FROM file_records f WHERE f.asset_id = t.asset_id AND f.outcome = 'trashed'
                                                AND f.missing_since IS NULL) THEN 'in_user_area'
    WHEN t.deleted_at > now() - make_interval(secs => %(older_s)s::float8) THEN 'not_old_enough'
    ELSE 'away' END
FROM trash t WHERE t.state = 'trashed' AND t.asset_id = ANY (%(ids)s::uuid[])

-- name: purging
-- what a repository that is away has something of waits for it
SELECT t.asset_id FROM trash t WHERE t.state IN ('purging', 'doomed') AND t.asset_id > %(after)s::uuid
  AND NOT EXISTS (SELECT 1 FROM trash_away w WHERE w.asset_id = t.asset_id)
ORDER BY t.asset_id LIMIT %(count)s::int

-- name: count_away
SELECT count(*) FROM trash t WHERE t.state IN ('purging', 'doomed')
  AND EXISTS (SELECT 1 FROM trash_away w WHERE w.asset_id = t.asset_id)

-- name: purging_in
SELECT EXISTS (SELECT 1 FROM trash t WHERE t.state IN ('purging', 'doomed')
                 AND (EXISTS (SELECT 1 FROM trash_files x
                              WHERE x.asset_id = t.asset_id AND x.repository_id = %(repository_id)s::uuid)
                   OR EXISTS (SELECT 1 FROM derivatives d
                              WHERE d.asset_id = t.asset_id AND d.repository_id = %(repository_id)s::uuid)))
