-- A call that came in: `number` is the caller's (empty when it is withheld), `called` is ours.
ALTER TABLE calls ADD COLUMN direction TEXT NOT NULL DEFAULT 'outbound' CHECK (direction IN ('outbound', 'inbound'));
ALTER TABLE calls ADD COLUMN called TEXT;
-- Which delivery does this caller ask about?
CREATE INDEX deliveries_by_phone ON deliveries (phone, eta);
