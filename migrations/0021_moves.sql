-- A file that was moved is known by its inode.

CREATE INDEX file_records_by_inode ON file_records (repository_id, inode);
