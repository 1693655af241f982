-- The server process of the connection on which the collector looks at live state.
SELECT pid FROM pg_stat_activity
WHERE datname = current_database() AND application_name = 'wattlake alerts live'
