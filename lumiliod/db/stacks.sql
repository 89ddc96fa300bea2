-- name: members
-- Assets by their ids, by the names beside theirs, and by the ids that cameras gave them, each with all its places: a
-- repository, whether the asset is served from there, and a path. Everything is looked up by itself, one row by an
-- index, so that neither the size of a folder nor old statistics matter: names are tried, a folder is never read. IS NOT
-- DISTINCT FROM keeps the planner from the index of everything that an owner has.
WITH found AS MATERIALIZED (
    SELECT w.id FROM unnest(%(ids)s::uuid[]) AS w (id)
    UNION
    SELECT f.asset_id
    FROM unnest(%(repository_ids)s::uuid[], %(stems)s::bytea[]) AS w (repository_id, stem)
    CROSS JOIN unnest(%(extensions)s::bytea[]) AS e
    CROSS JOIN LATERAL (SELECT n.asset_id, n.outcome, n.missing_since FROM file_records n
                        WHERE n.repository_id = w.repository_id AND n.path = w.stem || e OFFSET 0) AS f
    WHERE f.outcome = 'asset' OR (f.outcome = 'duplicate' AND f.missing_since IS NULL)
    UNION
    SELECT c.id FROM unnest(%(content_ids)s::text[]) AS w (content_id)
    CROSS JOIN LATERAL (SELECT o.id FROM assets o WHERE o.content_id = w.content_id AND o.deleted_at IS NULL
                          AND o.owner_id IS NOT DISTINCT FROM %(owner_id)s::uuid LIMIT %(many)s::int) AS c
    UNION
    SELECT b.id FROM unnest(%(burst_ids)s::text[]) AS w (burst_id)
    CROSS JOIN LATERAL (SELECT o.id FROM assets o WHERE o.burst_id = w.burst_id AND o.deleted_at IS NULL
                          AND o.owner_id IS NOT DISTINCT FROM %(owner_id)s::uuid LIMIT %(many)s::int) AS b
    EXCEPT SELECT k.id FROM unnest(%(known_ids)s::uuid[]) AS k (id))
SELECT a.id, a.type, a.mime_type, a.duration_s, a.content_id, a.burst_id, a.taken_at, a.taken_at_local, a.tz_source,
       a.taken_source, a.camera_model,
       a.burst_id IS NOT NULL AND (a.tags ->> 'XMP-GCamera:BurstPrimary') IN ('1', 'true', 'True') AS leads,
       ARRAY(SELECT uuid_send(f.repository_id) || (CASE f.outcome WHEN 'asset' THEN '\x01' ELSE '\x00' END)::bytea || f.path
             FROM file_records f
             WHERE f.asset_id = a.id AND (f.outcome = 'asset' OR (f.outcome = 'duplicate' AND f.missing_since IS NULL))
             LIMIT %(places)s::int) AS places
FROM found
CROSS JOIN LATERAL (SELECT * FROM assets o WHERE o.id = found.id
                      AND o.owner_id IS NOT DISTINCT FROM %(owner_id)s::uuid
                      AND o.deleted_at IS NULL OFFSET 0) AS a
