-- Why an attempt went to its trunk (JSON: what decided, who else could have carried it, who was passed over and why), and how
-- many trunks had failed before it in the same try: 0 is the first choice.
ALTER TABLE attempts ADD COLUMN route_why TEXT;
ALTER TABLE attempts ADD COLUMN failover INTEGER NOT NULL DEFAULT 0 CHECK (failover >= 0);

-- How the serving engine's trunks stand, told with each heartbeat (JSON by trunk), for commands in other processes.
ALTER TABLE engine ADD COLUMN trunks TEXT NOT NULL DEFAULT '{}';
