-- What a scan did not meet below folders it could not read says nothing, and is told apart once, not with every question.

ALTER TABLE scan_absences ADD COLUMN is_unread boolean NOT NULL DEFAULT false;
