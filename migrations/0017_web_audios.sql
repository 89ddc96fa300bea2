-- Sounds that every browser plays as they are need no version for the web either.

ALTER TABLE assets DROP CONSTRAINT assets_check3;
ALTER TABLE assets ADD CONSTRAINT assets_plays_on_web CHECK (plays_on_web IS NULL OR type <> 'photo');

DROP INDEX assets_unseen_films;
CREATE INDEX assets_without_web_version ON assets (id)
    WHERE type <> 'photo' AND plays_on_web IS NOT TRUE AND deleted_at IS NULL;
