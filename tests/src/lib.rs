//! Harness and suites that cross crates.

pub mod attester;
pub mod bus;
pub mod dbus_reference;
pub mod demo;
pub mod faulty_tpm;
pub mod fixture;
pub mod forge;
pub mod fprintd;
pub mod gateway;
pub mod house;
pub mod judge;
pub mod kept;
pub mod minted;
pub mod platform_keys;
pub mod polkitd;
pub mod raw_h2;
pub mod raw_https;
pub mod recorder;
pub mod reserved;
pub mod signetd;
pub mod skip;
pub mod swtpm;
pub mod upstream;
pub mod world;
