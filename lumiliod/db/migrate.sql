-- name: vector_version
-- the installed version, else the one that could be installed
SELECT coalesce((SELECT extversion FROM pg_extension WHERE extname = 'vector'),
                (SELECT default_version FROM pg_available_extensions WHERE name = 'vector'))

-- name: create_vector
CREATE EXTENSION IF NOT EXISTS vector

-- name: create_ledger
CREATE TABLE IF NOT EXISTS schema_migrations (
    number     integer PRIMARY KEY,
    name       text NOT NULL,
    sha256     text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
)

-- name: has_ledger
SELECT to_regclass('schema_migrations') IS NOT NULL

-- name: ledger
SELECT number, name, sha256 FROM schema_migrations

-- name: record
INSERT INTO schema_migrations (number, name, sha256) VALUES (%(number)s, %(name)s, %(sha256)s)

-- name: try_lock
SELECT pg_try_advisory_lock(%(key)s)

-- name: unlock
SELECT pg_advisory_unlock(%(key)s)
