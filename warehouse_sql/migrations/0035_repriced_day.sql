-- Costs of a day stand in its tables. Whoever changes what energy costs, or which tariff a meter has,
-- leaves the days here that are to be computed again.

CREATE TABLE repriced_day (
    day      date PRIMARY KEY,
    noted_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE known_tariffs (
    is_only boolean PRIMARY KEY DEFAULT true CHECK (is_only),
    content jsonb NOT NULL
);

COMMENT ON TABLE repriced_day IS 'days of which the costs in the tables are those of other prices';
COMMENT ON TABLE known_tariffs IS 'what TARIFF_FILE held when its changes were last looked for; null: nothing';
