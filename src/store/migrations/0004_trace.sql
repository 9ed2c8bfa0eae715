-- The SIP messages of calls and of registrations, as they were on the wire but for masked credentials.
-- `id` is the attempt's, the incoming call's, or `trunk:NAME` for what is said with a trunk outside of calls.
CREATE TABLE sip_traces (
    id          TEXT PRIMARY KEY,
    sip_call_id TEXT NOT NULL,
    peer        TEXT NOT NULL,
    began_at    TEXT NOT NULL,
    dropped     INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX sip_traces_by_call_id ON sip_traces (sip_call_id);
CREATE INDEX sip_traces_by_age ON sip_traces (began_at);

-- `at_us` is in microseconds since 1970 (UTC).
CREATE TABLE sip_messages (
    trace_id  TEXT NOT NULL REFERENCES sip_traces (id) ON DELETE CASCADE,
    place     INTEGER NOT NULL,
    at_us     INTEGER NOT NULL,
    direction TEXT NOT NULL CHECK (direction IN ('in', 'out')),
    transport TEXT NOT NULL,
    local     TEXT NOT NULL,
    remote    TEXT NOT NULL,
    bytes     BLOB NOT NULL,
    PRIMARY KEY (trace_id, place)
) STRICT, WITHOUT ROWID;

-- A deleted call leaves no messages behind: they hold the customer's number.
CREATE TRIGGER sip_traces_go_with_attempts AFTER DELETE ON attempts
BEGIN
    DELETE FROM sip_traces WHERE id = OLD.id;
END;
