//! Software FIDO2 keys for tests: third-party firmware behind a socket shaped like hidraw.
