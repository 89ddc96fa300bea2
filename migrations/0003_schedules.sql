-- Periodic jobs: what is to run when, and which of its times have been.

-- Code declares them; a person may pause one or give it another timing, and changed_at then keeps a later
-- declaration from overwriting that. slot_at is the next time by the cron expression or the interval, next_at
-- the same with its jitter. A dozen rows, so there is no index but the key.
CREATE TABLE job_schedules (
    name          text PRIMARY KEY CHECK (name <> '' AND name NOT LIKE '%/%'),
    kind          text NOT NULL CHECK (kind <> ''),
    queue         text NOT NULL CHECK (queue <> ''),
    args          jsonb NOT NULL DEFAULT '{}',
    priority      smallint NOT NULL DEFAULT 2 CHECK (priority BETWEEN 1 AND 4),
    max_attempts  smallint NOT NULL CHECK (max_attempts > 0),
    unique_key    text,
    repository_id uuid REFERENCES repositories ON DELETE CASCADE,
    cron          text CHECK (cron <> ''),
    every_s       integer CHECK (every_s > 0),
    time_zone     text NOT NULL DEFAULT 'UTC' CHECK (time_zone <> ''),
    jitter_s      integer NOT NULL DEFAULT 0 CHECK (jitter_s >= 0 AND jitter_s <= coalesce(every_s, jitter_s)),
    slot_at       timestamptz NOT NULL,
    next_at       timestamptz NOT NULL,
    last_fire_at  timestamptz,
    last_job_id   uuid,
    paused_at     timestamptz,
    changed_at    timestamptz,
    created_at    timestamptz NOT NULL DEFAULT now(),
    CHECK ((cron IS NULL) <> (every_s IS NULL))
);

-- One row per slot that has fired: the key is why no slot fires twice, whoever looks and whatever the clock does.
-- The job may be older than the fire, when one with its unique key was still open.
CREATE TABLE job_fires (
    schedule text NOT NULL REFERENCES job_schedules ON DELETE CASCADE,
    fire_at  timestamptz NOT NULL,
    job_id   uuid,
    fired_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (schedule, fire_at)
);
