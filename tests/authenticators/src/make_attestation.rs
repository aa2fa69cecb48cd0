//! `make-attestation FOLDER`: a fresh attestation root and a batch for each firmware, for demos by hand.

use std::path::PathBuf;

use anyhow::Context;
use clap::Parser;
use signet_test_authenticators::{AttestationRoot, Firmware};

#[derive(Debug, Parser)]
struct Arguments {
    /// Gets root.pem, root.der, and key and certificate of both batches
    folder: PathBuf,
}

fn main() -> anyhow::Result<()> {
    let Arguments { folder } = Arguments::parse();
    std::fs::create_dir_all(&folder).context("folder")?;
    let root = AttestationRoot::generate()?;
    std::fs::write(folder.join("root.pem"), root.certificate_pem())?;
    std::fs::write(folder.join("root.der"), root.certificate())?;
    for (name, firmware) in [("opensk", Firmware::OpenSk), ("trussed", Firmware::Trussed)] {
        let batch = root.issue(firmware.aaguid())?;
        std::fs::write(folder.join(name).with_extension("key"), batch.key)?;
        std::fs::write(folder.join(name).with_extension("der"), batch.certificate)?;
    }
    Ok(())
}
