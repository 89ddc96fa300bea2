-- name: words
a.search @@ %(words)s::tsquery

-- name: present
a.deleted_at IS NULL

-- name: after_cursor
(a.taken_at, a.id) < (%(cursor_taken_at)s::timestamptz, %(cursor_id)s::uuid)

-- name: newest_first
ORDER BY a.taken_at DESC, a.id DESC LIMIT %(count)s::int

-- name: count
SELECT count(*) FROM assets a
LEFT JOIN file_records f ON f.asset_id = a.id AND f.outcome = 'asset'
LEFT JOIN repositories r ON r.id = f.repository_id

-- name: type
a.type = %(value)s::text

-- name: status
a.status = %(value)s::text

-- name: name
position(lower(%(value)s::text) IN lower(a.original_filename)) > 0

-- name: camera
position(lower(%(value)s::text) IN lower(concat_ws(' ', a.camera_make, a.camera_model))) > 0

-- name: lens
position(lower(%(value)s::text) IN lower(a.lens_model)) > 0

-- name: tag
lower(%(value)s::text) IN (SELECT lower(k) FROM unnest(a.keywords) AS k)

-- name: in
-- a repository's name, and optionally a folder of it; paths are bytes
lower(r.name) = lower(%(repository)s::text)
AND substring(f.path FROM 1 FOR octet_length(%(folder)s::bytea)) = %(folder)s::bytea

-- name: after
a.taken_at_local >= %(value)s::timestamp

-- name: before
a.taken_at_local < %(value)s::timestamp

-- name: rating
CASE %(comparison)s::text
    WHEN '>=' THEN coalesce(a.rating, 0) >= %(value)s::int WHEN '<=' THEN coalesce(a.rating, 0) <= %(value)s::int
    WHEN '>' THEN coalesce(a.rating, 0) > %(value)s::int WHEN '<' THEN coalesce(a.rating, 0) < %(value)s::int
    ELSE coalesce(a.rating, 0) = %(value)s::int END

-- name: liked
a.liked = %(value)s::boolean

-- name: missing
CASE %(value)s::text WHEN 'gps' THEN a.latitude IS NULL WHEN 'camera' THEN a.camera_model IS NULL
                     ELSE a.taken_source <> 'capture' END

-- name: near
-- great-circle distance by the haversine formula, mean earth radius 6371.0088 km (IUGG)
a.latitude BETWEEN %(latitude)s::float8 - %(radius_km)s::float8 / 111.0
               AND %(latitude)s::float8 + %(radius_km)s::float8 / 111.0
AND 2 * 6371.0088 * asin(least(1, sqrt(
        sin(radians(a.latitude - %(latitude)s::float8) / 2) ^ 2
        + cos(radians(%(latitude)s::float8)) * cos(radians(a.latitude))
        * sin(radians(a.longitude - %(longitude)s::float8) / 2) ^ 2))) <= %(radius_km)s::float8
