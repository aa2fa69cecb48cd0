-- Keys in a machine's TPM stand beside security keys. `device` and `method` (tpm-pin, fingerprint) are
-- set for these only; `driver` and `fingers` (SHA-256 of the enrolled fingers) for fingerprints only.
ALTER TABLE credentials ADD COLUMN device BLOB REFERENCES devices (id);
ALTER TABLE credentials ADD COLUMN method TEXT;
ALTER TABLE credentials ADD COLUMN driver TEXT;
ALTER TABLE credentials ADD COLUMN fingers BLOB;
CREATE INDEX credentials_by_device ON credentials (device) WHERE device IS NOT NULL;
