-- What lies in the trash is read again like every original: what comes back must be good.

ALTER TABLE trash_files ADD COLUMN verified_at timestamptz, ADD COLUMN checked_at timestamptz;
CREATE INDEX trash_files_to_check ON trash_files ((coalesce(checked_at, '-infinity')), id);

-- file_id names a file record or a file in the trash; what it names may be gone.
ALTER TABLE findings DROP CONSTRAINT findings_file_id_fkey;

-- Every file whose bytes are to be there: originals, further copies, and what is at rest in the trash.
CREATE VIEW kept_files AS
SELECT id, repository_id, path, size_bytes, mtime_ns, inode, asset_id, digest, verified_at, checked_at
FROM file_records WHERE outcome IN ('asset', 'duplicate')
UNION ALL
SELECT x.id, x.repository_id, convert_to('.lumilio/trash/' || x.id::text, 'UTF8'), x.size_bytes, x.mtime_ns, x.inode,
       x.asset_id, a.digest, x.verified_at, x.checked_at
FROM trash_files x JOIN trash t ON t.asset_id = x.asset_id JOIN assets a ON a.id = x.asset_id
WHERE t.state IN ('trashed', 'purging');

DROP VIEW standing_findings;
CREATE VIEW standing_findings AS
SELECT n.* FROM findings n
WHERE n.state = 'open' AND CASE
    WHEN n.mirror_id IS NOT NULL THEN true
    WHEN n.kind = 'untracked' THEN NOT EXISTS (SELECT 1 FROM file_records f
                                               WHERE f.repository_id = n.repository_id AND f.path = n.path)
    ELSE EXISTS (SELECT 1 FROM file_records f WHERE f.id = n.file_id AND f.digest = n.digest)
      OR EXISTS (SELECT 1 FROM trash_files x JOIN assets a ON a.id = x.asset_id
                 WHERE x.id = n.file_id AND a.digest = n.digest)
END;
