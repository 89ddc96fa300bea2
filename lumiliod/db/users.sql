-- name: ensure
-- the person who runs the machine; signs in by peer credentials until a password is set
INSERT INTO users (id, name, role) VALUES (%(id)s, %(name)s, 'admin') ON CONFLICT (name) DO NOTHING

-- name: by_name
SELECT id FROM users WHERE name = %(name)s::text

-- name: names
SELECT id, name FROM users

-- name: quota
SELECT quota_bytes FROM users WHERE id = %(id)s::uuid

-- name: hold_quota
-- whoever references the row (FOR KEY SHARE) need not wait
SELECT FROM users WHERE id = %(id)s::uuid AND quota_bytes IS NOT NULL FOR NO KEY UPDATE

-- name: used
-- one statement, one snapshot: what a job makes an asset of is never counted twice, or not at all
SELECT ((SELECT coalesce(sum(size_bytes), 0) FROM assets WHERE owner_id = %(id)s::uuid)
        + (SELECT coalesce(sum((args ->> 'size_bytes')::bigint), 0) FROM jobs
           WHERE kind = 'ingest' AND args ? 'owner' AND args ->> 'owner' = %(id)s::text
             AND state IN ('available', 'scheduled', 'running', 'retryable')))::bigint

-- name: set_quota
UPDATE users SET quota_bytes = %(limit_bytes)s::bigint WHERE name = %(name)s::text
