//! What every D-Bus service with cryptography costs: reads a configuration, connects, takes a name,
//! draws a random number (the library gathers entropy before the first one), says that it is ready.
//! Called as `signetd` is: `do-nothing-service --config FILE`.

use std::error::Error;

use serde::Deserialize;

#[derive(Deserialize)]
struct Config {
    bus: String,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let file = std::env::args().nth(2).ok_or("usage: do-nothing-service --config FILE")?;
    let config: Config = toml::from_str(&std::fs::read_to_string(file)?)?;
    let _connection = zbus::connection::Builder::address(config.bus.as_str())
        .name("org.signet.DoNothing")
        .build()
        .await?;
    aws_lc_rs::rand::fill(&mut [0; 16])?;
    sd_notify::notify(&[sd_notify::NotifyState::Ready])?;
    std::future::pending().await
}
