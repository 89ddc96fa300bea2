-- photos in full size that have to make room: the least recently used of a repository
CREATE INDEX derivatives_photo_web ON derivatives (repository_id, used_at) WHERE kind = 'photo_web';
