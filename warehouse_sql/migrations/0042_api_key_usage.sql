-- What callers with a limit have sent, as the collectors tell each other. A crash may forget it.

CREATE UNLOGGED TABLE api_key_usage (
    id      text PRIMARY KEY REFERENCES api_key (id) ON DELETE CASCADE,
    records bigint NOT NULL
);

COMMENT ON COLUMN api_key.records_per_second IS 'limit of all collectors together; null: none';
COMMENT ON TABLE api_key_usage IS 'records that each limited API key has sent to all collectors';
COMMENT ON COLUMN api_key_usage.records IS 'since the first of them; after a crash of the server, since then';
