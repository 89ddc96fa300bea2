-- name: insert
INSERT INTO repositories (id, name, root, backend, storage_strategy, created_at)
VALUES (%(id)s, %(name)s, %(root)s, 'local', %(storage_strategy)s, %(created_at)s)

-- name: all
SELECT id, name, root, storage_strategy, status, status_reason, created_at FROM repositories ORDER BY name

-- name: set_status
UPDATE repositories SET status = %(status)s::text, status_reason = %(reason)s::text
WHERE id = %(id)s::uuid AND (status, status_reason) IS DISTINCT FROM (%(status)s::text, %(reason)s::text)

-- name: sizes
SELECT repository_id, count(*) FILTER (WHERE outcome = 'asset') AS assets, count(*) AS files,
       coalesce(sum(size_bytes) FILTER (WHERE outcome = 'asset'), 0)::bigint AS size_bytes
FROM file_records
WHERE missing_since IS NULL AND (%(id)s::uuid IS NULL OR repository_id = %(id)s::uuid)
GROUP BY repository_id
