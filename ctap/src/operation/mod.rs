//! What a daemon wants done with a key: a few operations with events for a prompt.
//!
//! Every operation is one future. Cancel it by dropping it: the caller is free at once, the key is
//! told to stop, and the next operation waits until it has.

mod assert;
mod choose;
mod configure;
mod credentials;
mod error;
mod fingers;
mod pin;
mod prompt;
mod register;
mod reset;
mod u2f;
mod verify;

pub use assert::{AssertRequest, Assertion};
pub use choose::{assert_any, assert_each, choose};
pub use configure::Config;
pub use error::{Feature, OperationError};
pub use fingers::EnrolledFinger;
pub use prompt::{Event, Events, PinRequest, Prompt};
pub use register::{RegisterRequest, Registration};
pub use verify::{UserVerification, UvMethod};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::Key;

    fn is_send<T: Send>(_: T) {}

    /// Operations run in spawned tasks. Compiling is the test.
    #[expect(dead_code, reason = "never called")]
    fn operations_can_be_spawned(
        keys: &mut [Key],
        key: &mut Key,
        assert: &AssertRequest,
        register: &RegisterRequest,
        config: &Config,
        prompt: &Prompt,
    ) {
        is_send(key.assert(assert, prompt));
        is_send(key.register(register, prompt));
        is_send(key.enroll_finger(None, prompt));
        is_send(key.list_credentials(prompt));
        is_send(key.configure(config, prompt));
        is_send(key.reset_to_factory(prompt));
        is_send(assert_any(keys, assert, prompt));
        is_send(assert_each(vec![(0, key, assert)], prompt));
    }
}
