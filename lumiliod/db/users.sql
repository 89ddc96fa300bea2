-- name: ensure
-- the person who runs the machine; signs in by peer credentials until a password is set
INSERT INTO users (id, name, role) VALUES (%(id)s, %(name)s, 'admin') ON CONFLICT (name) DO NOTHING

-- name: by_name
SELECT id FROM users WHERE name = %(name)s::text
