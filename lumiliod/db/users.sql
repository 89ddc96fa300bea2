-- name: ensure
-- the person who runs the machine; signs in by peer credentials until a password is set
INSERT INTO users (id, name, role) VALUES (%(id)s, %(name)s, 'admin') ON CONFLICT (name) DO NOTHING

-- name: by_name
SELECT id FROM users WHERE name = %(name)s::text

-- name: quota
-- what is kept is counted only where it matters
SELECT quota_bytes AS limit_bytes,
       CASE WHEN quota_bytes IS NULL THEN 0
            ELSE (SELECT coalesce(sum(size_bytes), 0)::bigint FROM assets WHERE owner_id = users.id) END AS used_bytes
FROM users WHERE id = %(id)s::uuid

-- name: used
SELECT coalesce(sum(size_bytes), 0)::bigint FROM assets WHERE owner_id = %(id)s::uuid

-- name: set_quota
UPDATE users SET quota_bytes = %(limit_bytes)s::bigint WHERE name = %(name)s::text
