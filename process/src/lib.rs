//! What a Signet program does about its own process: its secrets stay out of core files and swap
//! ([`memory`]), and its service manager hears of it ([`supervision`]).

pub mod memory;
pub mod supervision;
