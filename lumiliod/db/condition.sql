-- name: condition
SELECT current_setting('server_version') AS server_version, pg_database_size(current_database()) AS size_bytes,
       clock_timestamp() AS at
