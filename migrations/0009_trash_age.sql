-- How long something has been in the trash is observed, not computed from two times of a clock that may have been
-- set in between: a machine without a clock of its own boots months back, and is put right later.

-- aged_s: for how long it has been there, as the scheduled purge counted at aged_at. What is there already is counted
-- from now on, for nobody knows by which clock it came.
ALTER TABLE trash
    ADD COLUMN aged_s double precision NOT NULL DEFAULT 0 CHECK (aged_s >= 0),
    ADD COLUMN aged_at timestamptz NOT NULL DEFAULT now();

-- Since when, by that count, it is in the trash. From one purge to the next no more time counts than lies between two
-- slots of their schedule (one by cron counts as daily), and none when the clock went back: being off puts a purge off.
CREATE VIEW trash_ages AS
SELECT t.asset_id, greatest(least(t.aged_at, now()), now() - p.most) - make_interval(secs => t.aged_s) AS kept_since
FROM trash t CROSS JOIN (
    SELECT make_interval(secs => coalesce(max(coalesce(every_s, 86400) + jitter_s), 86400)::float8) AS most
    FROM job_schedules WHERE name = 'trash-purge') AS p;
