//! `signetd` as its callers see it: a private bus, a software TPM and software security keys.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of a test fail as the test does")]
#![expect(clippy::disallowed_methods, reason = "a test starts the programs that signetd may not")]
#![expect(unreachable_pub, reason = "nothing of a test is for others")]

mod agents;
mod authorisation;
mod authority;
mod broker;
mod client;
mod desktop_tool;
mod enrolment;
mod evidence;
mod faults;
mod flood;
mod foreign;
mod hotplug;
mod idle;
mod interface;
mod logind;
mod memory;
mod platform;
mod queue;
mod refusals;
mod renewal;
mod sessions;
mod supervision;
mod upkeep;
mod world;
