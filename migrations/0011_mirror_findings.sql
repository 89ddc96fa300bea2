-- A bad copy in a mirror is worth telling while it can be made anew: while its original is in the library and there.

DROP VIEW standing_findings;
CREATE VIEW standing_findings AS
SELECT n.* FROM findings n
WHERE n.state = 'open' AND CASE
    WHEN n.mirror_id IS NOT NULL THEN EXISTS (SELECT 1 FROM file_records f
                                              WHERE f.repository_id = n.repository_id AND f.asset_id = n.asset_id
                                                AND f.outcome = 'asset' AND f.missing_since IS NULL
                                                AND f.digest = n.digest)
    WHEN n.kind = 'untracked' THEN NOT EXISTS (SELECT 1 FROM file_records f
                                               WHERE f.repository_id = n.repository_id AND f.path = n.path)
    ELSE EXISTS (SELECT 1 FROM file_records f WHERE f.id = n.file_id AND f.digest = n.digest)
      OR EXISTS (SELECT 1 FROM trash_files x JOIN assets a ON a.id = x.asset_id
                 WHERE x.id = n.file_id AND a.digest = n.digest)
END;
