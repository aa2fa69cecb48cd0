//! What a person does with a security key itself. None of it needs enrolment.

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use zbus::OwnedObjectPath;

use super::error::DaemonError;
use super::proxy::Arguments;
use super::{Daemon, Request};

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upkeep<'a> {
    /// Enrol one more finger under this name.
    AddFinger {
        /// 1 to 64 bytes.
        name: &'a str,
    },
    /// List the fingers.
    ListFingers,
    /// Tell what the sensor is like.
    FingerSensor,
    /// Give a finger another name.
    RenameFinger {
        /// Its template.
        template: &'a [u8],
        /// 1 to 64 bytes.
        name: &'a str,
    },
    /// Forget a finger.
    RemoveFinger {
        /// Its template.
        template: &'a [u8],
    },
    /// Set the first PIN.
    SetPin,
    /// Change the PIN.
    ChangePin,
    /// Change the PIN of this machine's own key. Takes no path.
    ChangeTpmPin,
    /// List the discoverable credentials.
    ListCredentials,
    /// Delete a discoverable credential.
    RemoveCredential {
        /// Its id.
        id: &'a [u8],
    },
    /// Erase the key. The path must be named.
    Reset,
    /// Change how the key behaves.
    Configure(&'a Configuration),
}

/// How a key should behave. Members that are absent stay as they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Configuration {
    /// Verify the user for everything.
    pub always_uv: Option<bool>,
    /// Fewest characters of a PIN; can only be raised.
    pub min_pin_length: Option<u32>,
    /// The PIN must be changed before it is used again.
    pub force_pin_change: bool,
    /// Attest with a certificate of this very key to relying parties that it names.
    pub enterprise_attestation: bool,
}

impl<'a> Upkeep<'a> {
    fn method(self) -> &'static str {
        match self {
            Self::AddFinger { .. } => "AddFinger",
            Self::ListFingers => "ListFingers",
            Self::FingerSensor => "FingerSensor",
            Self::RenameFinger { .. } => "RenameFinger",
            Self::RemoveFinger { .. } => "RemoveFinger",
            Self::SetPin => "SetPin",
            Self::ChangePin | Self::ChangeTpmPin => "ChangePin",
            Self::ListCredentials => "ListCredentials",
            Self::RemoveCredential { .. } => "RemoveCredential",
            Self::Reset => "ResetAuthenticator",
            Self::Configure(_) => "ConfigureAuthenticator",
        }
    }

    fn arguments(self) -> Arguments<'a> {
        match self {
            Self::AddFinger { name } => [("name", name.into())].into(),
            Self::RenameFinger { template, name } => {
                [("template", template.into()), ("name", name.into())].into()
            }
            Self::RemoveFinger { template } => [("template", template.into())].into(),
            Self::RemoveCredential { id } => [("id", id.into())].into(),
            Self::Configure(configuration) => configuration.arguments(),
            Self::ChangeTpmPin => [("method", "tpm-pin".into())].into(),
            Self::ListFingers
            | Self::FingerSensor
            | Self::SetPin
            | Self::ChangePin
            | Self::ListCredentials
            | Self::Reset => Arguments::new(),
        }
    }
}

impl Configuration {
    fn arguments(&self) -> Arguments<'static> {
        let mut arguments = Arguments::new();
        if let Some(always) = self.always_uv {
            arguments.insert("always_uv", always.into());
        }
        if let Some(length) = self.min_pin_length {
            arguments.insert("min_pin_length", length.into());
        }
        for (member, wanted) in [
            ("force_pin_change", self.force_pin_change),
            ("enterprise_attestation", self.enterprise_attestation),
        ] {
            if wanted {
                arguments.insert(member, true.into());
            }
        }
        arguments
    }
}

/// Keys that come and go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plugged {
    /// A key is there now.
    Added {
        /// Where.
        path: String,
    },
    /// A key is gone.
    Removed {
        /// Where it was.
        path: String,
    },
}

impl Daemon {
    /// Starts something with the key at `path`; without a path, with the one that fits or is touched.
    ///
    /// # Errors
    /// When `signetd` refuses at once or cannot be reached.
    pub async fn keep_up(
        &self,
        upkeep: Upkeep<'_>,
        path: Option<&str>,
    ) -> Result<Request, DaemonError> {
        let mut arguments = upkeep.arguments();
        if let Some(path) = path {
            arguments.insert("path", path.into());
        }
        let (listening, token) = self.listen().await?;
        let proxy = self.proxy.inner();
        // polkit may want a password.
        let flags = zbus::proxy::MethodFlags::ALLOW_INTERACTIVE_AUTH;
        let call = (token.as_str(), arguments);
        let _: Option<OwnedObjectPath> =
            proxy.call_with_flags(upkeep.method(), flags, &call).await?;
        Ok(listening)
    }

    /// Tells from now on which keys come and go.
    ///
    /// # Errors
    /// When the bus cannot be reached.
    pub async fn plugged(&self) -> Result<BoxStream<'static, Plugged>, DaemonError> {
        let added =
            self.proxy.receive_authenticator_added().await?.filter_map(|signal| async move {
                Some(Plugged::Added { path: signal.args().ok()?.path.to_owned() })
            });
        let removed =
            self.proxy.receive_authenticator_removed().await?.filter_map(|signal| async move {
                Some(Plugged::Removed { path: signal.args().ok()?.path.to_owned() })
            });
        Ok(futures_util::stream::select(added.boxed(), removed.boxed()).boxed())
    }
}
