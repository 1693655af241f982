-- What sessions cost. Where tariffs are known, the days that there are get them once: they are computed
-- again, which changes nothing else.

ALTER TABLE charging_session
    ADD COLUMN cost_of_energy numeric(38, 17),
    ADD COLUMN cost_of_losses numeric(38, 17),
    ADD COLUMN currency       text;

CREATE OR REPLACE VIEW mart.charging_sessions AS SELECT * FROM charging_session;

-- A repriced day is done once its tables have the new costs, and then its sessions.
ALTER TABLE repriced_day ADD COLUMN priced_at timestamptz;
COMMENT ON COLUMN repriced_day.priced_at IS 'when the tables of the day were priced, its sessions not yet; null: not yet';

INSERT INTO repriced_day (day)
SELECT DISTINCT (hour AT TIME ZONE 'UTC')::date FROM partition_ledger
WHERE computed_version IS NOT NULL
  AND EXISTS (SELECT FROM known_tariffs WHERE content <> 'null')
ON CONFLICT DO NOTHING;
