-- Who may call the collector. A secret has 256 random bits: nobody finds it by trying, so a fast hash
-- keeps it as safe as a slow one, and every request can afford it.

CREATE TABLE api_key (
    id                 text PRIMARY KEY CHECK (id ~ '^[0-9a-f]{12}$'),
    name               text NOT NULL,
    secret_sha256      bytea NOT NULL CHECK (octet_length(secret_sha256) = 32),
    scopes             text[] NOT NULL
        CHECK (cardinality(scopes) > 0 AND scopes <@ ARRAY['ingest', 'read', 'admin']),
    device_prefix      text CHECK (device_prefix <> ''),
    records_per_second double precision
        CHECK (records_per_second > 0 AND records_per_second < 'Infinity'),
    created_at         timestamptz NOT NULL DEFAULT now(),
    revoked_at         timestamptz,
    CONSTRAINT prefix_binds_a_writer
        CHECK (device_prefix IS NULL OR ('ingest' = ANY (scopes) AND 'admin' <> ALL (scopes)))
);
CREATE UNIQUE INDEX api_key_by_living_name ON api_key (name) WHERE revoked_at IS NULL;

COMMENT ON TABLE api_key IS 'keys of the callers of the collector; a revoked one stays as a record';
COMMENT ON COLUMN api_key.secret_sha256 IS 'SHA-256 of the secret part of the key, which is stored nowhere';
COMMENT ON COLUMN api_key.device_prefix IS 'the key writes only for devices whose id begins so; null: for all';
COMMENT ON COLUMN api_key.records_per_second IS 'limit of each collector process; null: none';
