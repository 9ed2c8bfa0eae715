-- Times are RFC 3339 UTC text with milliseconds (2026-11-21T08:30:00.000Z), so that text order is time order.
-- Identifiers are UUIDv7 in their hyphenated text form.

CREATE TABLE users (
    id            TEXT PRIMARY KEY,
    username      TEXT NOT NULL UNIQUE,
    display_name  TEXT NOT NULL,
    role          TEXT NOT NULL CHECK (role IN ('agent', 'dispatcher', 'admin')),
    password_hash TEXT NOT NULL,
    created_at    TEXT NOT NULL,
    disabled_at   TEXT
) STRICT;

CREATE TABLE sessions (
    token_hash TEXT PRIMARY KEY,
    user_id    TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    created_at TEXT NOT NULL,
    expires_at TEXT NOT NULL
) STRICT;
CREATE INDEX sessions_by_user ON sessions (user_id);
CREATE INDEX sessions_by_expiry ON sessions (expires_at);

CREATE TABLE api_keys (
    id         TEXT PRIMARY KEY,
    name       TEXT NOT NULL,
    role       TEXT NOT NULL CHECK (role IN ('dispatcher', 'admin')),
    key_hash   TEXT NOT NULL UNIQUE,
    created_at TEXT NOT NULL,
    revoked_at TEXT
) STRICT;

CREATE TABLE deliveries (
    id                TEXT PRIMARY KEY,
    order_ref         TEXT NOT NULL UNIQUE,
    stop              TEXT NOT NULL,
    customer_name     TEXT NOT NULL,
    phone             TEXT NOT NULL,
    address           TEXT NOT NULL,
    eta               TEXT NOT NULL,
    language          TEXT NOT NULL,
    agent             TEXT NOT NULL,
    instructions      TEXT NOT NULL,
    plan              TEXT,
    call_lead_seconds INTEGER NOT NULL CHECK (call_lead_seconds >= 0),
    created_at        TEXT NOT NULL,
    updated_at        TEXT NOT NULL
) STRICT;
CREATE INDEX deliveries_by_eta ON deliveries (eta, id);
CREATE INDEX deliveries_by_agent ON deliveries (agent, eta, id);

CREATE TABLE calls (
    id                  TEXT PRIMARY KEY,
    delivery_id         TEXT REFERENCES deliveries (id) ON DELETE CASCADE,
    number              TEXT NOT NULL,
    plan                TEXT NOT NULL,
    vars                TEXT NOT NULL,
    language            TEXT NOT NULL,
    state               TEXT NOT NULL CHECK (state IN ('pending', 'active', 'done')),
    waiting             TEXT,
    outcome             TEXT,
    due_at              TEXT NOT NULL,
    not_after           TEXT NOT NULL,
    attempts_made       INTEGER NOT NULL DEFAULT 0,
    max_attempts        INTEGER NOT NULL CHECK (max_attempts >= 1),
    cancel_requested_at TEXT,
    idempotency_key     TEXT UNIQUE,
    created_at          TEXT NOT NULL,
    done_at             TEXT,
    CHECK ((state = 'done') = (outcome IS NOT NULL))
) STRICT;
CREATE INDEX calls_due ON calls (due_at, id) WHERE state = 'pending';
CREATE INDEX calls_by_delivery ON calls (delivery_id, id);

CREATE TABLE attempts (
    id          TEXT PRIMARY KEY,
    call_id     TEXT NOT NULL REFERENCES calls (id) ON DELETE CASCADE,
    ordinal     INTEGER NOT NULL,
    trunk       TEXT NOT NULL,
    state       TEXT NOT NULL CHECK (state IN ('queued', 'dialing', 'ringing', 'answered', 'ended')),
    cause       TEXT,
    sip_status  INTEGER,
    reason      TEXT,
    dialing_at  TEXT NOT NULL,
    ringing_at  TEXT,
    answered_at TEXT,
    ended_at    TEXT,
    UNIQUE (call_id, ordinal),
    CHECK ((state = 'ended') = (cause IS NOT NULL))
) STRICT;
-- The last guard of "dial exactly once": two live attempts of one call cannot exist.
CREATE UNIQUE INDEX attempts_one_live ON attempts (call_id) WHERE state <> 'ended';

CREATE TABLE recordings (
    id            TEXT PRIMARY KEY,
    attempt_id    TEXT NOT NULL REFERENCES attempts (id) ON DELETE CASCADE,
    state         TEXT NOT NULL CHECK (state IN ('recording', 'ready', 'failed')),
    path          TEXT NOT NULL,
    duration_ms   INTEGER,
    bytes         INTEGER,
    sha256        TEXT,
    answer_ranges TEXT NOT NULL DEFAULT '[]',
    reason        TEXT,
    created_at    TEXT NOT NULL,
    finished_at   TEXT
) STRICT;
CREATE INDEX recordings_by_attempt ON recordings (attempt_id, id);

CREATE TABLE listens (
    recording_id TEXT NOT NULL REFERENCES recordings (id) ON DELETE CASCADE,
    user_id      TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    at           TEXT NOT NULL,
    PRIMARY KEY (recording_id, user_id)
) STRICT;

CREATE TABLE transcripts (
    id           TEXT PRIMARY KEY,
    recording_id TEXT NOT NULL UNIQUE REFERENCES recordings (id) ON DELETE CASCADE,
    state        TEXT NOT NULL CHECK (state IN ('queued', 'running', 'done', 'no_speech', 'failed')),
    text         TEXT NOT NULL DEFAULT '',
    language     TEXT,
    model        TEXT,
    seconds      REAL,
    words        TEXT NOT NULL DEFAULT '[]',
    reason       TEXT,
    created_at   TEXT NOT NULL,
    finished_at  TEXT
) STRICT;

CREATE TABLE jobs (
    id          TEXT PRIMARY KEY,
    kind        TEXT NOT NULL,
    subject     TEXT NOT NULL,
    state       TEXT NOT NULL CHECK (state IN ('queued', 'running', 'done', 'dead')),
    run_at      TEXT NOT NULL,
    lease_until TEXT,
    tries       INTEGER NOT NULL DEFAULT 0,
    max_tries   INTEGER NOT NULL CHECK (max_tries >= 1),
    error       TEXT,
    created_at  TEXT NOT NULL,
    finished_at TEXT,
    UNIQUE (kind, subject)
) STRICT;
CREATE INDEX jobs_open ON jobs (kind, run_at, id) WHERE state IN ('queued', 'running');

-- AUTOINCREMENT: a number is never used twice, so a reader that remembers the last one it saw loses nothing.
CREATE TABLE events (
    seq         INTEGER PRIMARY KEY AUTOINCREMENT,
    at          TEXT NOT NULL,
    kind        TEXT NOT NULL,
    subject     TEXT NOT NULL,
    delivery_id TEXT,
    agent       TEXT,
    data        TEXT NOT NULL
) STRICT;

CREATE TABLE engine (
    only       INTEGER PRIMARY KEY CHECK (only = 1),
    instance   TEXT NOT NULL,
    pid        INTEGER NOT NULL,
    started_at TEXT NOT NULL,
    seen_at    TEXT NOT NULL
) STRICT;

-- Who said that they do not want to be called. An `opt_in` outcome takes the number off again.
CREATE TABLE do_not_call (
    number TEXT PRIMARY KEY,
    since  TEXT NOT NULL
) STRICT;
