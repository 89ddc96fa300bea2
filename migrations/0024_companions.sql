-- A burst is asked for by its id whenever one of its photos is shown; few photos have one.
CREATE INDEX assets_by_burst_id ON assets (burst_id) WHERE burst_id IS NOT NULL;
