//! The D-Bus interfaces of `signetd`, as its introspection data describes them.

// The macro writes the types around these traits; their documentation is the contract's.
#![allow(missing_docs, unreachable_pub)]

use std::collections::HashMap;

use zbus::{Fd, OwnedObjectPath, OwnedVariant, Variant, proxy};

/// A dictionary on its way to `signetd`.
pub(crate) type Arguments<'a> = HashMap<&'a str, Variant<'a>>;
/// A dictionary that came from `signetd`.
pub(crate) type Reply = HashMap<String, OwnedVariant>;

#[proxy(
    interface = "org.signet.Presence1",
    default_service = "org.signet.Presence1",
    default_path = "/org/signet/Presence1"
)]
pub(crate) trait Presence1 {
    #[zbus(allow_interactive_auth)]
    fn begin_enrolment(&self) -> zbus::Result<Reply>;
    #[zbus(allow_interactive_auth)]
    fn activate_enrolment(&self, arguments: &Arguments<'_>) -> zbus::Result<Reply>;
    #[zbus(allow_interactive_auth)]
    fn complete_enrolment(&self, arguments: &Arguments<'_>) -> zbus::Result<()>;
    fn renew_certificates(&self, arguments: &Arguments<'_>) -> zbus::Result<()>;
    /// Asks nobody for a password.
    fn request_presence(
        &self,
        handle_token: &str,
        arguments: &Arguments<'_>,
    ) -> zbus::Result<OwnedObjectPath>;
    /// May ask for one, where polkit wants that.
    #[zbus(name = "RequestPresence", allow_interactive_auth)]
    fn request_presence_of_person(
        &self,
        handle_token: &str,
        arguments: &Arguments<'_>,
    ) -> zbus::Result<OwnedObjectPath>;
    #[zbus(allow_interactive_auth)]
    fn register_authenticator(
        &self,
        handle_token: &str,
        arguments: &Arguments<'_>,
    ) -> zbus::Result<OwnedObjectPath>;
    fn sign_tls(&self, message: &[u8]) -> zbus::Result<Vec<u8>>;
    fn list_authenticators(&self) -> zbus::Result<Vec<Reply>>;
    fn list_sessions(&self, arguments: &Arguments<'_>) -> zbus::Result<Vec<Reply>>;
    fn end_sessions(&self, arguments: &Arguments<'_>) -> zbus::Result<()>;
    fn status(&self) -> zbus::Result<Reply>;

    #[zbus(signal)]
    fn sessions_changed(&self) -> zbus::Result<()>;
    #[zbus(signal)]
    fn authenticator_added(&self, path: &str) -> zbus::Result<()>;
    #[zbus(signal)]
    fn authenticator_removed(&self, path: &str) -> zbus::Result<()>;

    #[zbus(property)]
    fn version(&self) -> zbus::Result<String>;
    #[zbus(property)]
    fn enrolled(&self) -> zbus::Result<bool>;
    #[zbus(property)]
    fn device_id(&self) -> zbus::Result<String>;
    #[zbus(property)]
    fn operator(&self) -> zbus::Result<String>;
    #[zbus(property)]
    fn authority(&self) -> zbus::Result<String>;
    #[zbus(property)]
    fn audience(&self) -> zbus::Result<String>;
    #[zbus(property)]
    fn rp_id(&self) -> zbus::Result<String>;
    #[zbus(property)]
    fn device_certificates(&self) -> zbus::Result<Vec<Vec<u8>>>;
    #[zbus(property)]
    fn authority_certificates(&self) -> zbus::Result<Vec<Vec<u8>>>;
}

#[proxy(
    interface = "org.signet.Presence1.Request",
    default_service = "org.signet.Presence1",
    assume_defaults = false
)]
pub(crate) trait Request {
    fn cancel(&self) -> zbus::Result<()>;
    fn provide_pin(&self, pipe: Fd<'_>) -> zbus::Result<()>;
}
