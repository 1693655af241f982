-- An open alert takes a new severity of its rule.

ALTER TABLE alert_event DROP CONSTRAINT alert_event_type_check;
ALTER TABLE alert_event ADD CONSTRAINT alert_event_type_check
    CHECK (type IN ('opened', 'worsened', 'updated', 'resolved', 'acknowledged', 'silenced',
                    'unsilenced'));

COMMENT ON COLUMN alert.updated_at IS 'when value, worst value, severity or message last changed';
