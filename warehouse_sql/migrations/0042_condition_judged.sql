-- Whether a day had enough sessions for its list of visits to mean anything: an empty one then says that
-- nobody is to be visited. Older days are judged by their number of sessions.

ALTER TABLE condition_day ADD COLUMN is_judged boolean NOT NULL DEFAULT true;
UPDATE condition_day SET is_judged = sessions >= 200;
ALTER TABLE condition_day ALTER COLUMN is_judged DROP DEFAULT;
COMMENT ON COLUMN condition_day.is_judged IS 'there were enough sessions to tell who should be visited';
