-- Where the film of a motion photo lies in its file, and the regions of a picture that its tags name.

ALTER TABLE assets
    ADD COLUMN motion_offset bigint CHECK (motion_offset > 0),
    ADD COLUMN motion_bytes bigint CHECK (motion_bytes > 0),
    ADD COLUMN regions jsonb NOT NULL DEFAULT '[]' CHECK (jsonb_typeof(regions) = 'array'),
    ADD CHECK ((motion_offset IS NULL) = (motion_bytes IS NULL));

-- what is told of films and regions was read in another form: those files are read again
UPDATE assets SET metadata_at = NULL
WHERE tags ?| ARRAY['XMP-GCamera:MotionPhoto', 'XMP-GCamera:MicroVideo', 'XMP-mwg-rs:RegionType', 'XMP-mwg-rs:RegionName',
                    'XMP-MP:RegionRectangle']
   OR lower(trim(camera_make)) = 'samsung';
