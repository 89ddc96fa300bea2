-- Companions: bursts, and sidecars whose content is read.

-- A burst is asked for by its id whenever one of its photos is shown; few photos have one.
CREATE INDEX assets_by_burst_id ON assets (burst_id) WHERE burst_id IS NOT NULL;

-- What a file and its sidecar said when they were read last, of what a person may say otherwise: what differs from it
-- is a person's and stays, what does not is read anew. Until now nobody could say anything.
ALTER TABLE assets ADD COLUMN said jsonb;
UPDATE assets SET said = jsonb_build_object('rating', rating, 'title', title, 'description', description,
                                            'keywords', to_jsonb(keywords))
WHERE metadata_at IS NOT NULL AND (rating IS NOT NULL OR title IS NOT NULL OR description IS NOT NULL OR keywords <> '{}');

-- until now their content was not read
UPDATE assets SET metadata_at = NULL
WHERE id IN (SELECT asset_id FROM file_records WHERE outcome = 'sidecar' AND asset_id IS NOT NULL);
