-- The request that a record was made in (W3C Trace Context), and when a revocation was committed, to
-- measure by.
ALTER TABLE audit ADD COLUMN trace TEXT;
ALTER TABLE revocations ADD COLUMN committed_ms INTEGER;

-- Programs that do not know the column take records that have it for changed ones.
UPDATE compatibility SET oldest = 14;
