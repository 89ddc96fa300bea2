-- The foundation: people, repositories, assets, their files and derivatives, and the job table.
-- Keys are UUIDv7 made by the application. Constraints state the invariants; code only keeps to them.

CREATE TABLE users (
    id            uuid PRIMARY KEY,
    name          text NOT NULL UNIQUE CHECK (name <> ''),
    role          text NOT NULL CHECK (role IN ('admin', 'user', 'guest')),
    password_hash text CHECK (password_hash LIKE '$argon2id$%'),
    created_at    timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE repositories (
    id               uuid PRIMARY KEY,
    name             text NOT NULL UNIQUE CHECK (name <> ''),
    root             text NOT NULL UNIQUE CHECK (root LIKE '/%'),
    backend          text NOT NULL DEFAULT 'local',
    storage_strategy text NOT NULL CHECK (storage_strategy <> ''),
    status           text NOT NULL DEFAULT 'online' CHECK (status IN ('online', 'offline')),
    status_reason    text CHECK (status = 'offline' OR status_reason IS NULL),
    scan_generation  bigint NOT NULL DEFAULT 0,
    created_at       timestamptz NOT NULL
);

CREATE TABLE assets (
    id                uuid PRIMARY KEY,
    owner_id          uuid NOT NULL REFERENCES users,
    type              text NOT NULL CHECK (type IN ('photo', 'video', 'audio')),
    digest            bytea NOT NULL CHECK (octet_length(digest) = 32),
    size_bytes        bigint NOT NULL CHECK (size_bytes > 0),
    mime_type         text NOT NULL CHECK (mime_type LIKE '%/%'),
    original_filename text NOT NULL CHECK (original_filename <> ''),
    status            text NOT NULL DEFAULT 'processing' CHECK (status IN ('processing', 'ready', 'undecodable')),
    status_reason     text CHECK (status <> 'undecodable' OR status_reason IS NOT NULL),
    width             integer CHECK (width > 0),
    height            integer CHECK (height > 0),
    duration_s        double precision CHECK (duration_s >= 0 AND duration_s < 'Infinity'),
    taken_at          timestamptz NOT NULL,
    taken_at_local    timestamp NOT NULL,
    tz_source         text NOT NULL CHECK (tz_source IN ('offset_tag', 'gps', 'utc', 'unknown')),
    taken_source      text NOT NULL CHECK (taken_source IN ('capture', 'file', 'upload')),
    latitude          double precision CHECK (latitude BETWEEN -90 AND 90),
    longitude         double precision CHECK (longitude BETWEEN -180 AND 180),
    altitude_m        double precision,
    camera_make       text,
    camera_model      text,
    lens_model        text,
    iso               integer CHECK (iso > 0),
    f_number          double precision CHECK (f_number > 0),
    exposure_s        double precision CHECK (exposure_s > 0),
    focal_length_mm   double precision CHECK (focal_length_mm > 0),
    orientation       smallint CHECK (orientation BETWEEN 1 AND 8),
    rating            smallint CHECK (rating BETWEEN 0 AND 5),
    liked             boolean NOT NULL DEFAULT false,
    title             text,
    description       text,
    keywords          text[] NOT NULL DEFAULT '{}',
    content_id        text CHECK (length(content_id) <= 200),
    burst_id          text CHECK (length(burst_id) <= 200),
    video_codec       text,
    audio_codec       text,
    artist            text,
    album_title       text,
    tags              jsonb NOT NULL DEFAULT '{}',
    -- folded words of name, title, description, keywords, camera (domain/text.py): lexemes as they are, no parser
    search_text       text NOT NULL DEFAULT '' CHECK (search_text !~ '^ |  | $'),
    search            tsvector NOT NULL GENERATED ALWAYS AS (array_to_tsvector(string_to_array(search_text, ' '))) STORED,
    metadata_at       timestamptz,
    added_at          timestamptz NOT NULL DEFAULT now(),
    updated_at        timestamptz NOT NULL DEFAULT now(),
    deleted_at        timestamptz,
    UNIQUE (owner_id, digest),
    CHECK ((latitude IS NULL) = (longitude IS NULL)),
    CHECK ((width IS NULL) = (height IS NULL))
);
CREATE INDEX assets_by_taken ON assets (taken_at DESC, id DESC) WHERE deleted_at IS NULL;
CREATE INDEX assets_by_search ON assets USING gin (search);
CREATE INDEX assets_without_metadata ON assets (id) WHERE metadata_at IS NULL;
CREATE INDEX assets_processing ON assets (id) WHERE status = 'processing';
CREATE INDEX assets_by_content_id ON assets (content_id) WHERE content_id IS NOT NULL;

-- One row per file of a repository, inbox and user area alike. The path is bytes, because a file
-- system's names are. One record with outcome 'asset' is where the original is served from;
-- further copies are 'duplicate'.
CREATE TABLE file_records (
    id              uuid PRIMARY KEY,
    repository_id   uuid NOT NULL REFERENCES repositories ON DELETE CASCADE,
    path            bytea NOT NULL CHECK (octet_length(path) > 0),
    size_bytes      bigint NOT NULL CHECK (size_bytes >= 0),
    mtime_ns        bigint NOT NULL,
    inode           bigint NOT NULL,
    digest          bytea CHECK (octet_length(digest) = 32),
    outcome         text NOT NULL CHECK (outcome IN ('pending', 'asset', 'duplicate', 'sidecar', 'ignored',
                                                     'unsupported', 'corrupt', 'too_large', 'unreadable')),
    reason          text CHECK (outcome NOT IN ('unsupported', 'corrupt', 'too_large', 'unreadable')
                                OR reason IS NOT NULL),
    asset_id        uuid REFERENCES assets,
    scan_generation bigint NOT NULL DEFAULT 0,
    missing_since   timestamptz,
    created_at      timestamptz NOT NULL DEFAULT now(),
    updated_at      timestamptz NOT NULL DEFAULT now(),
    UNIQUE (repository_id, path),
    CHECK ((outcome IN ('asset', 'duplicate')) <= (asset_id IS NOT NULL AND digest IS NOT NULL))
);
CREATE UNIQUE INDEX file_records_one_original ON file_records (asset_id) WHERE outcome = 'asset';
CREATE INDEX file_records_by_asset ON file_records (asset_id) WHERE asset_id IS NOT NULL;
CREATE INDEX file_records_pending ON file_records (id) WHERE outcome = 'pending';

CREATE TABLE derivatives (
    asset_id      uuid NOT NULL REFERENCES assets ON DELETE CASCADE,
    kind          text NOT NULL CHECK (kind <> ''),
    repository_id uuid NOT NULL REFERENCES repositories ON DELETE CASCADE,
    path          text NOT NULL CHECK (path <> '' AND path NOT LIKE '/%'),
    recipe        text NOT NULL,
    mime_type     text NOT NULL,
    size_bytes    bigint NOT NULL CHECK (size_bytes > 0),
    width         integer CHECK (width > 0),
    height        integer CHECK (height > 0),
    created_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (asset_id, kind)
);

-- Unit-norm vectors, one row per asset and model. The dimension belongs to the model, so each model
-- brings its own partial index over (vector::halfvec(n)). PLAIN keeps vectors out of TOAST.
CREATE TABLE embeddings (
    asset_id      uuid NOT NULL REFERENCES assets ON DELETE CASCADE,
    model         text NOT NULL CHECK (model <> ''),
    model_version text NOT NULL,
    vector        halfvec NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (asset_id, model)
);
ALTER TABLE embeddings ALTER COLUMN vector SET STORAGE PLAIN;

CREATE TABLE sync_operations (
    id            uuid PRIMARY KEY,
    repository_id uuid NOT NULL REFERENCES repositories ON DELETE CASCADE,
    type          text NOT NULL CHECK (type IN ('full', 'folder')),
    status        text NOT NULL CHECK (status IN ('running', 'completed', 'failed')),
    found         bigint NOT NULL DEFAULT 0,
    added         bigint NOT NULL DEFAULT 0,
    changed       bigint NOT NULL DEFAULT 0,
    missing       bigint NOT NULL DEFAULT 0,
    ignored       bigint NOT NULL DEFAULT 0,
    error         text CHECK (status = 'failed' OR error IS NULL),
    started_at    timestamptz NOT NULL DEFAULT now(),
    finished_at   timestamptz CHECK ((finished_at IS NULL) = (status = 'running'))
);
CREATE INDEX sync_operations_by_repository ON sync_operations (repository_id, id DESC);

-- The job table. A worker row is a lease; a token is one attempt's right to write its result.
-- started is written only for jobs that were held by workers that died, three times in a row: it tells
-- what ran from what merely waited beside it. tags, parent_id and cancel_requested_at have no writer yet:
-- cancelling, job trees and labels come with the next issue and need no rewrite of the table then.
CREATE SEQUENCE job_token;

CREATE TABLE workers (
    id         uuid PRIMARY KEY,
    host       text NOT NULL,
    pid        integer NOT NULL,
    lock_key   bigint NOT NULL,
    started_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL
);

CREATE TABLE jobs (
    id                  uuid PRIMARY KEY,
    seq                 bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
    kind                text NOT NULL CHECK (kind <> ''),
    queue               text NOT NULL CHECK (queue <> ''),
    state               text NOT NULL DEFAULT 'available'
                        CHECK (state IN ('available', 'scheduled', 'running', 'retryable', 'discarded')),
    priority            smallint NOT NULL DEFAULT 2 CHECK (priority BETWEEN 1 AND 4),
    attempt             smallint NOT NULL DEFAULT 0 CHECK (attempt >= 0),
    max_attempts        smallint NOT NULL CHECK (max_attempts > 0),
    args                jsonb NOT NULL DEFAULT '{}',
    unique_key          text,
    created_at          timestamptz NOT NULL DEFAULT now(),
    scheduled_at        timestamptz NOT NULL DEFAULT now(),
    attempted_at        timestamptz,
    finished_at         timestamptz,
    worker_id           uuid,
    token               bigint,
    started             boolean NOT NULL DEFAULT false,
    cancel_requested_at timestamptz,
    progress            jsonb,
    errors              jsonb NOT NULL DEFAULT '[]' CHECK (jsonb_typeof(errors) = 'array'),
    asset_id            uuid,
    repository_id       uuid,
    parent_id           uuid,
    tags                text[] NOT NULL DEFAULT '{}',
    CHECK ((state = 'running') = (worker_id IS NOT NULL)),
    CHECK ((state = 'running') = (token IS NOT NULL)),
    CHECK ((state = 'discarded') = (finished_at IS NOT NULL))
);
-- by kind within the queue: a lane takes a share of each kind, and leaves kinds it does not know
CREATE INDEX jobs_to_claim ON jobs (queue, kind, priority, seq) WHERE state = 'available';
CREATE INDEX jobs_to_promote ON jobs (scheduled_at) WHERE state IN ('scheduled', 'retryable');
CREATE INDEX jobs_held ON jobs (worker_id) WHERE state = 'running';
CREATE UNIQUE INDEX jobs_unique_open ON jobs (kind, unique_key)
    WHERE unique_key IS NOT NULL AND state IN ('available', 'scheduled', 'running', 'retryable');
-- open and discarded ones of a kind, and the counts of all of them, without the table
CREATE INDEX jobs_by_kind ON jobs (kind, state, queue);
CREATE INDEX jobs_by_asset ON jobs (asset_id, kind) WHERE asset_id IS NOT NULL;
ALTER TABLE jobs SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);

-- Finished jobs, by the day they ended; a day is dropped as a whole.
CREATE TABLE job_history (
    id            uuid NOT NULL,
    kind          text NOT NULL,
    queue         text NOT NULL,
    state         text NOT NULL CHECK (state IN ('completed', 'cancelled')),
    priority      smallint NOT NULL,
    attempt       smallint NOT NULL,
    max_attempts  smallint NOT NULL,
    args          jsonb NOT NULL,
    result        jsonb,
    errors        jsonb NOT NULL,
    created_at    timestamptz NOT NULL,
    scheduled_at  timestamptz NOT NULL,
    attempted_at  timestamptz,
    finished_at   timestamptz NOT NULL DEFAULT now(),
    run_ms        real,
    asset_id      uuid,
    repository_id uuid,
    parent_id     uuid,
    tags          text[] NOT NULL,
    PRIMARY KEY (id, finished_at)
) PARTITION BY RANGE (finished_at);
CREATE TABLE job_history_other PARTITION OF job_history DEFAULT;
