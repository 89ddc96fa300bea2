-- Dependencies, groups, tags, causes, and what a person says of a queue.

-- waits_for counts the jobs and groups that must end first: until then a job is 'scheduled', whatever its
-- time, or given up. awaited says that somebody waits for this one, so that the end of any other costs no look.
-- A suspect was held by a worker that died; deaths counts those that died while they ran it as the only
-- suspect and on record (started).
ALTER TABLE jobs
    DROP COLUMN cancel_requested_at,
    ADD COLUMN group_id uuid,
    ADD COLUMN awaited boolean NOT NULL DEFAULT false,
    ADD COLUMN waits_for integer NOT NULL DEFAULT 0 CHECK (waits_for >= 0),
    ADD COLUMN suspect boolean NOT NULL DEFAULT false,
    ADD COLUMN deaths smallint NOT NULL DEFAULT 0 CHECK (deaths >= 0),
    -- what the last failure was, as failures are grouped: its code, and of a defect where it was raised
    ADD COLUMN cause text GENERATED ALWAYS AS (
        (errors -> -1 ->> 'code') || coalesce(':' || (errors -> -1 ->> 'traceback_digest'), '')) STORED,
    ADD CHECK (waits_for = 0 OR state IN ('scheduled', 'discarded'));

CREATE INDEX jobs_by_cause ON jobs (kind, cause) WHERE state IN ('retryable', 'discarded');
-- suspects stand in a line of their own: they are claimed one by one
DROP INDEX jobs_to_claim;
CREATE INDEX jobs_to_claim ON jobs (queue, kind, priority, seq) WHERE state = 'available' AND NOT suspect;
CREATE INDEX jobs_suspect ON jobs (queue, priority, seq) WHERE state = 'available' AND suspect;
-- every change of state wrote into it; what it answered is answered by the partial ones
DROP INDEX jobs_by_kind;
-- what runs is counted and listed by it, too
DROP INDEX jobs_held;
CREATE INDEX jobs_held ON jobs (worker_id, kind, queue) WHERE state = 'running';
-- and what waits for its time
DROP INDEX jobs_to_promote;
CREATE INDEX jobs_to_promote ON jobs (scheduled_at) WHERE state IN ('scheduled', 'retryable') AND waits_for = 0;

-- so that a cancelled job can be taken back as it was
ALTER TABLE job_history ADD COLUMN group_id uuid, ADD COLUMN unique_key text, ADD COLUMN waits_on uuid[];

-- Who waits for what: a job or a group. No foreign keys: they would cost every job's end a look.
CREATE TABLE job_waits (
    on_id  uuid NOT NULL,
    job_id uuid NOT NULL,
    PRIMARY KEY (on_id, job_id)
);
CREATE INDEX job_waits_by_job ON job_waits (job_id);

-- How many jobs of a group have not ended; the row goes with the last of them.
CREATE TABLE job_groups (
    id         uuid PRIMARY KEY,
    open       integer NOT NULL CHECK (open > 0),
    created_at timestamptz NOT NULL DEFAULT now()
);

-- What a person says of a queue, '*' of all of them. A queue without a row does as the configuration says.
-- Between quiet_from and quiet_until, in quiet_zone, nothing begins.
CREATE TABLE job_queues (
    name        text PRIMARY KEY CHECK (name <> ''),
    paused_at   timestamptz,
    concurrency smallint CHECK (concurrency IS NULL OR (concurrency BETWEEN 1 AND 256 AND name <> '*')),
    quiet_from  time,
    quiet_until time,
    quiet_zone  text,
    updated_at  timestamptz NOT NULL DEFAULT now(),
    CHECK (num_nonnulls(quiet_from, quiet_until, quiet_zone) IN (0, 3)),
    CHECK (quiet_from <> quiet_until)
);

-- Measured with a million open jobs (bench/queues/storage.py): when to vacuum makes no difference, for a claim passes
-- over what is dead; that it takes its time does: unthrottled, the table stays a quarter smaller.
ALTER TABLE jobs SET (autovacuum_vacuum_cost_delay = 0);
