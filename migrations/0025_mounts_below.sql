-- Which file systems were mounted below a repository's root when it was scanned: one that is away says nothing of its files.

ALTER TABLE repositories ADD COLUMN mounts bytea[] NOT NULL DEFAULT '{}';
