//! People without a security key: what this machine itself can say of them (protocol §5.1).
//!
//! A match of [`fprintd`] means that the fprintd process of this host says so, and nothing more: no
//! signature, no nonce, no sensor's identity. It is as good as root, the kernel, fprintd and the
//! cable.

mod authorisation;
pub mod fprintd;
mod keys;

pub use authorisation::{AuthorisationKey, Match};
pub use keys::{Means, Method, Part, Plan, Platform, PlatformKey};
