-- What is on its way in counts against what its owner may keep: the open jobs of uploads say how large and whose they
-- are. Whatever ends such a job lets go of its bytes.
CREATE INDEX jobs_uploads ON jobs ((args ->> 'owner'), (args ->> 'upload'))
    WHERE kind = 'ingest' AND args ? 'owner';

-- What became of an upload, for a sender who asks when its job has ended.
CREATE INDEX job_history_uploads ON job_history ((args ->> 'upload')) WHERE kind = 'ingest' AND args ? 'upload';
