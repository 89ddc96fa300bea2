-- What is in the trash and has something in a repository that is away: it neither ages nor is purged meanwhile.
CREATE VIEW trash_away AS
SELECT t.asset_id FROM trash t
WHERE EXISTS (
    SELECT 1 FROM repositories r WHERE r.status <> 'online'
      AND (EXISTS (SELECT 1 FROM trash_files x WHERE x.asset_id = t.asset_id AND x.repository_id = r.id)
        OR EXISTS (SELECT 1 FROM derivatives d WHERE d.asset_id = t.asset_id AND d.repository_id = r.id)));
