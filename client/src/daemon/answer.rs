//! What a request brought.

use super::dictionary::Dictionary;
use super::error::DaemonError;

/// The results of a request that was done, to be read as what was asked for.
pub struct Answer(Dictionary);

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Answer").finish_non_exhaustive()
    }
}

/// A proof of presence, or a registration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completion {
    /// Presence Evidence.
    pub evidence: Vec<u8>,
    /// The credential that answered or was made.
    pub credential_id: Option<Vec<u8>>,
    /// How the host saw the person verified: `built-in` or `pin`.
    pub observed: Option<String>,
    /// Model of a newly registered authenticator.
    pub aaguid: Option<Vec<u8>>,
}

/// A finger that a key knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finger {
    /// Id of its template on the key.
    pub template: Vec<u8>,
    /// What its owner calls it; may be empty.
    pub name: String,
}

/// What a key's fingerprint sensor is like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sensor {
    /// `touch` or `swipe`.
    pub kind: String,
    /// Good samples that a finger needs.
    pub max_samples: Option<u32>,
    /// Longest name of a finger, in bytes.
    pub max_name_bytes: Option<u32>,
}

/// A discoverable credential on a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredCredential {
    /// Its id.
    pub id: Vec<u8>,
    /// Whose it is.
    pub rp_id: String,
    /// The account.
    pub user: String,
    /// CTAP credProtect, 1 to 3.
    pub protection: Option<u32>,
}

/// The discoverable credentials of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredCredentials {
    /// The credentials.
    pub credentials: Vec<StoredCredential>,
    /// How many there are.
    pub used: u32,
    /// How many more fit.
    pub left: u32,
}

impl Answer {
    pub(super) fn new(results: Dictionary) -> Self {
        Self(results)
    }

    /// The answer to a request for presence, or for a registration.
    ///
    /// # Errors
    /// [`DaemonError::Member`].
    pub fn presence(mut self) -> Result<Completion, DaemonError> {
        Ok(Completion {
            evidence: self.0.take("evidence")?,
            credential_id: self.0.optional("credential_id")?,
            observed: self.0.optional("observed")?,
            aaguid: self.0.optional("aaguid")?,
        })
    }

    /// Id of the finger that was added.
    ///
    /// # Errors
    /// [`DaemonError::Member`].
    pub fn template(mut self) -> Result<Vec<u8>, DaemonError> {
        self.0.take("template")
    }

    /// The fingers of a key.
    ///
    /// # Errors
    /// [`DaemonError::Member`].
    pub fn fingers(mut self) -> Result<(Vec<Finger>, Sensor), DaemonError> {
        let fingers = self.0.dictionaries("fingers")?.into_iter().map(|mut finger| {
            Ok(Finger {
                template: finger.take("template")?,
                name: finger.optional("name")?.unwrap_or_default(),
            })
        });
        Ok((fingers.collect::<Result<_, DaemonError>>()?, self.sensor()?))
    }

    /// The sensor of a key.
    ///
    /// # Errors
    /// [`DaemonError::Member`].
    pub fn sensor(mut self) -> Result<Sensor, DaemonError> {
        Ok(Sensor {
            kind: self.0.take("kind")?,
            max_samples: self.0.optional("max_samples")?,
            max_name_bytes: self.0.optional("max_name_bytes")?,
        })
    }

    /// The discoverable credentials of a key.
    ///
    /// # Errors
    /// [`DaemonError::Member`].
    pub fn credentials(mut self) -> Result<StoredCredentials, DaemonError> {
        let credentials = self.0.dictionaries("credentials")?.into_iter().map(|mut found| {
            Ok(StoredCredential {
                id: found.take("id")?,
                rp_id: found.take("rp_id")?,
                user: found.take("user")?,
                protection: found.optional("protection")?,
            })
        });
        Ok(StoredCredentials {
            credentials: credentials.collect::<Result<_, DaemonError>>()?,
            used: self.0.take("used")?,
            left: self.0.take("left")?,
        })
    }
}
