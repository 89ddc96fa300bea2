-- Derivatives are found by where they lie: what no row names is left over, what two rows name stays.
CREATE INDEX derivatives_place ON derivatives USING hash (path);

-- Films for the web are kept within a budget: the one that nobody asked for longest goes first, and is made again
-- when somebody does. Its row stays, so that it is not missing work.
ALTER TABLE derivatives ADD COLUMN used_at timestamptz NOT NULL DEFAULT now(), ADD COLUMN evicted_at timestamptz;
CREATE INDEX derivatives_video_web ON derivatives (repository_id, used_at) WHERE kind = 'video_web';

DROP INDEX derivatives_recipe;
CREATE INDEX derivatives_recipe ON derivatives (recipe, asset_id) WHERE kind IN ('thumbnail_150', 'waveform');
