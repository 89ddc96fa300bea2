-- name: admit
-- the digest decides: the same bytes of the same owner are the same asset
INSERT INTO assets (id, owner_id, type, digest, size_bytes, mime_type, original_filename, width, height, duration_s,
                    taken_at, taken_at_local, tz_source, taken_source, search_text)
SELECT id, owner_id, type, decode(digest, 'hex'), size_bytes, mime_type, original_filename, width, height, duration_s,
       taken_at, taken_at_local, tz_source, taken_source, search_text
FROM jsonb_to_recordset(%(assets)s::jsonb)
    AS a (id uuid, owner_id uuid, type text, digest text, size_bytes bigint, mime_type text, original_filename text,
          width integer, height integer, duration_s double precision, taken_at timestamptz, taken_at_local timestamp,
          tz_source text, taken_source text, search_text text)
ON CONFLICT (owner_id, digest) DO NOTHING
RETURNING id

-- name: by_digest
SELECT id, deleted_at IS NOT NULL AS in_trash FROM assets
WHERE owner_id = %(owner_id)s::uuid AND digest = %(digest)s::bytea

-- name: has_digest
SELECT EXISTS (SELECT 1 FROM assets WHERE id = %(id)s::uuid AND digest = %(digest)s::bytea)

-- name: with_digests
-- those of the assets that still have these bytes; they keep them until this transaction ends
SELECT a.id FROM unnest(%(ids)s::uuid[], %(digests)s::bytea[]) AS w (id, digest)
JOIN assets a ON a.id = w.id AND a.digest = w.digest ORDER BY a.id FOR NO KEY UPDATE OF a

-- name: by_digests
SELECT encode(digest, 'hex') AS digest, id AS asset_id, deleted_at IS NOT NULL AS in_trash FROM assets
WHERE owner_id = %(owner_id)s::uuid AND digest = ANY (%(digests)s::bytea[])

-- name: set_metadata
-- what a person has set stays: what is not what was read last
UPDATE assets SET
    width = coalesce(%(width)s, width), height = coalesce(%(height)s, height),
    duration_s = coalesce(%(duration_s)s, duration_s), orientation = %(orientation)s,
    taken_at = CASE WHEN %(taken_at)s::timestamptz IS NULL THEN taken_at ELSE %(taken_at)s END,
    taken_at_local = CASE WHEN %(taken_at)s::timestamptz IS NULL THEN taken_at_local
                          ELSE %(taken_at_local)s::timestamp END,
    tz_source = CASE WHEN %(taken_at)s::timestamptz IS NULL THEN tz_source ELSE %(tz_source)s::text END,
    taken_source = CASE WHEN %(taken_at)s::timestamptz IS NULL THEN taken_source ELSE 'capture' END,
    latitude = %(latitude)s, longitude = %(longitude)s, altitude_m = %(altitude_m)s,
    camera_make = %(camera_make)s, camera_model = %(camera_model)s, lens_model = %(lens_model)s,
    iso = %(iso)s, f_number = %(f_number)s, exposure_s = %(exposure_s)s, focal_length_mm = %(focal_length_mm)s,
    rating = CASE WHEN rating IS NULL OR rating = (said ->> 'rating')::smallint THEN %(rating)s::smallint ELSE rating END,
    title = CASE WHEN title IS NULL OR title = said ->> 'title' THEN %(title)s::text ELSE title END,
    description = CASE WHEN description IS NULL OR description = said ->> 'description' THEN %(description)s::text
                       ELSE description END,
    keywords = CASE WHEN keywords = '{}' OR to_jsonb(keywords) = said -> 'keywords' THEN %(keywords)s::text[]
                    ELSE keywords END,
    said = jsonb_build_object('rating', %(rating)s::smallint, 'title', %(title)s::text,
                              'description', %(description)s::text, 'keywords', to_jsonb(%(keywords)s::text[])),
    content_id = %(content_id)s, burst_id = %(burst_id)s, video_codec = %(video_codec)s,
    audio_codec = %(audio_codec)s, artist = %(artist)s, album_title = %(album_title)s, tags = %(tags)s::jsonb,
    motion_offset = %(motion_offset)s, motion_bytes = %(motion_bytes)s, regions = %(regions)s::jsonb,
    search_text = %(search_text)s, metadata_at = now(), updated_at = now()
WHERE id = %(id)s::uuid AND digest = %(digest)s::bytea

-- name: give_up
-- pictures that are there are kept, whatever made anew could not be
UPDATE assets SET status = 'undecodable', status_reason = %(reason)s::text, updated_at = now()
WHERE id = %(id)s::uuid AND status = 'processing'

-- name: set_plays_on_web
UPDATE assets SET plays_on_web = %(plays)s::boolean, updated_at = now() WHERE id = %(id)s::uuid

-- name: plays_on_web
SELECT plays_on_web FROM assets WHERE id = %(id)s::uuid AND deleted_at IS NULL

-- name: without_web_version
-- what had to make room is not made again before somebody asks for it
SELECT a.id, f.repository_id FROM assets a JOIN file_records f ON f.asset_id = a.id AND f.outcome = 'asset'
WHERE a.type <> 'photo' AND a.type = ANY (%(types)s::text[]) AND a.deleted_at IS NULL AND a.id > %(after)s::uuid
  AND ((a.plays_on_web IS NOT TRUE
        AND NOT EXISTS (SELECT 1 FROM derivatives d WHERE d.asset_id = a.id AND d.kind = a.type || '_web'
                          AND (d.evicted_at IS NOT NULL OR d.recipe = CASE a.type WHEN 'video' THEN %(video_recipe)s::text
                                                                      ELSE %(audio_recipe)s::text END)))
       OR EXISTS (SELECT 1 FROM derivatives d WHERE d.asset_id = a.id AND d.kind = 'filmstrip'
                    AND d.recipe <> %(strip_recipe)s::text))
  AND NOT EXISTS (SELECT 1 FROM jobs j WHERE j.asset_id = a.id AND j.kind = 'transcode')
ORDER BY a.id LIMIT %(count)s::int

-- name: set_ready
UPDATE assets SET status = 'ready', status_reason = NULL, updated_at = now() WHERE id = ANY (%(ids)s::uuid[])

-- name: source
-- where the bytes of an asset are read from
SELECT a.id, a.type, a.mime_type, a.width, a.height, a.duration_s, a.original_filename, a.size_bytes,
       encode(a.digest, 'hex') AS digest, f.repository_id, f.path, f.mtime_ns
FROM assets a JOIN file_records f ON f.asset_id = a.id AND f.outcome = 'asset'
WHERE a.id = ANY (%(ids)s::uuid[])

-- name: columns
SELECT a.id, a.owner_id, a.type, a.status, a.status_reason, a.original_filename, f.repository_id,
       r.name AS repository, f.path, a.digest, a.size_bytes, a.mime_type, a.width, a.height, a.duration_s,
       a.taken_at, a.taken_at_local, a.tz_source, a.taken_source, a.latitude, a.longitude, a.altitude_m,
       a.camera_make, a.camera_model, a.lens_model, a.iso, a.f_number, a.exposure_s, a.focal_length_mm,
       a.rating, a.liked, a.title, a.description, a.keywords, a.added_at,
       ARRAY(SELECT substr(d.kind, 11)::int FROM derivatives d
             WHERE d.asset_id = a.id AND d.kind LIKE 'thumbnail\_%%' ORDER BY 1) AS thumbnails,
       ap.thumbhash, dt.recipe AS thumbnail_recipe, dt.created_at AS thumbnails_made_at, a.motion_offset, a.motion_bytes
FROM assets a
LEFT JOIN derivatives dt ON dt.asset_id = a.id AND dt.kind = 'thumbnail_150'
LEFT JOIN appearances ap ON ap.asset_id = a.id
LEFT JOIN file_records f ON f.asset_id = a.id AND f.outcome = 'asset'
LEFT JOIN repositories r ON r.id = f.repository_id

-- name: details
SELECT orientation, content_id, burst_id, video_codec, audio_codec, artist, album_title AS album, regions, tags
FROM assets WHERE id = %(id)s::uuid

-- name: undone
SELECT metadata_at IS NULL AS metadata, status = 'processing' AS thumbnails,
       type <> 'photo' AND plays_on_web IS NULL AS transcode
FROM assets WHERE id = %(id)s::uuid

-- name: counts
SELECT type, status, count(*) FROM assets WHERE deleted_at IS NULL GROUP BY type, status

-- name: without_metadata
-- missing work is a query: assets whose metadata job is neither done, open nor given up
SELECT a.id, f.repository_id FROM assets a JOIN file_records f ON f.asset_id = a.id AND f.outcome = 'asset'
WHERE a.metadata_at IS NULL AND a.deleted_at IS NULL AND a.id > %(after)s::uuid
  AND NOT EXISTS (SELECT 1 FROM jobs j WHERE j.asset_id = a.id AND j.kind = 'metadata')
ORDER BY a.id LIMIT %(count)s::int

-- name: without_thumbnails
SELECT a.id, f.repository_id
FROM (SELECT id FROM assets WHERE status = 'processing' AND id > %(after)s::uuid
      UNION
      SELECT id FROM assets s WHERE s.type = 'audio' AND s.status = 'ready' AND s.id > %(after)s::uuid
        AND NOT EXISTS (SELECT 1 FROM derivatives d WHERE d.asset_id = s.id AND d.kind = 'waveform')
      UNION
      SELECT asset_id FROM derivatives
      WHERE kind IN ('thumbnail_150', 'waveform') AND (recipe < %(recipe)s::text OR recipe > %(recipe)s::text)
        AND asset_id > %(after)s::uuid) AS w
JOIN assets a ON a.id = w.id JOIN file_records f ON f.asset_id = a.id AND f.outcome = 'asset'
WHERE a.deleted_at IS NULL
  AND NOT EXISTS (SELECT 1 FROM jobs j WHERE j.asset_id = a.id AND j.kind = 'thumbnails')
ORDER BY a.id LIMIT %(count)s::int

-- name: rate
-- what a person says; the file's own rating, said, is kept beside it
UPDATE assets SET rating = %(rating)s::smallint, updated_at = now()
WHERE id = %(id)s::uuid AND deleted_at IS NULL

-- name: like
UPDATE assets SET liked = %(liked)s::boolean, updated_at = now() WHERE id = %(id)s::uuid AND deleted_at IS NULL
