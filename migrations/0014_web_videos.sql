-- Films that every browser plays as they are need no version for the web; null: nobody has looked yet.

ALTER TABLE assets ADD COLUMN plays_on_web boolean CHECK (plays_on_web IS NULL OR type = 'video');

CREATE INDEX assets_unseen_films ON assets (id) WHERE type = 'video' AND plays_on_web IS NOT TRUE AND deleted_at IS NULL;

-- What a derivative's pixels and bytes do not say, by its kind: of a filmstrip, how its frames lie in it.
ALTER TABLE derivatives ADD COLUMN details jsonb;
