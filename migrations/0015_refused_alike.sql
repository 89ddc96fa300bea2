-- The same bytes refused again: looked for at the end of every refusal, among all that were.
CREATE INDEX jobs_refused ON jobs ((args ->> 'digest'), (args ->> 'owner'))
    WHERE kind = 'ingest' AND state = 'discarded' AND args ? 'owner';
