-- What pictures look like in numbers, made with their thumbnails.

CREATE TABLE appearances (
    asset_id     uuid PRIMARY KEY REFERENCES assets ON DELETE CASCADE,
    phash        bit(64), -- of a picture of one colour there is none
    thumbhash    bytea NOT NULL CHECK (octet_length(thumbhash) BETWEEN 5 AND 40),
    sharpness    real NOT NULL CHECK (sharpness >= 0),
    brightness   real NOT NULL CHECK (brightness BETWEEN 0 AND 1),
    dark_share   real NOT NULL CHECK (dark_share BETWEEN 0 AND 1),
    bright_share real NOT NULL CHECK (bright_share BETWEEN 0 AND 1)
);

-- Which pictures were made by an older recipe.
CREATE INDEX derivatives_recipe ON derivatives (recipe, asset_id) WHERE kind = 'thumbnail_150';
