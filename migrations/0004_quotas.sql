-- How much of the library a person may fill; what is in the trash counts, it takes room.
ALTER TABLE users ADD COLUMN quota_bytes bigint CHECK (quota_bytes >= 0);
CREATE INDEX assets_by_owner ON assets (owner_id) INCLUDE (size_bytes);
