//! `opensk-key`: Google's OpenSK firmware as a process, with button and fingerprint sensor.

mod environment;
mod memory;
mod sensor;

use std::time::Duration;

use anyhow::{Context, anyhow, ensure};
use clap::Parser;
use opensk::api::customization::DEFAULT_CUSTOMIZATION;
use opensk::api::persist::{Attestation, AttestationId, Persist};
use opensk::ctap::data_formats::EnterpriseAttestationMode;
use opensk::{Ctap, Transport};
use signet_test_authenticators::rig::{Arguments, Rig};
use signet_test_authenticators::{Firmware, aaguid_from_hex, scalar};

use crate::environment::Board;
use crate::memory::Memory;

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    ensure!(!arguments.touch_only, "--touch-only is for trussed-key");
    let rig = Rig::open(&arguments).context("sockets")?;
    let mut customization = DEFAULT_CUSTOMIZATION;
    if arguments.enterprise_rp_id.is_empty() {
        customization.use_batch_attestation = true;
    } else {
        let list =
            arguments.enterprise_rp_id.iter().map(|id| &*id.clone().leak()).collect::<Vec<_>>();
        customization.enterprise_attestation_mode =
            Some(EnterpriseAttestationMode::VendorFacilitated);
        // The customization is what the maker compiles in; it lives as long as the process.
        customization.enterprise_rp_id_list = list.leak();
    }
    customization.max_uv_retries = 5;
    let memory = Memory::open(arguments.state.clone())?;
    let mut board = Board::new(customization, memory, &rig.wire, &rig.panel);
    provision(&mut board, &arguments)?;
    let mut ctap = Ctap::new(board);
    rig.announce()?;
    loop {
        if let Some(report) = rig.wire.receive(Duration::from_secs(1)) {
            for answer in ctap.process_hid_packet(&report, Transport::MainHid) {
                rig.wire.send_to_host(&answer);
            }
        }
        let blinking = ctap.u2f_needs_user_presence();
        if blinking && rig.panel.take_touch() {
            ctap.u2f_grant_user_presence();
        }
        rig.panel.set_waiting(blinking);
    }
}

/// What the factory does: attestation, AAGUID, and fingers where asked.
fn provision(board: &mut Board, arguments: &Arguments) -> anyhow::Result<()> {
    let firmware = |code| anyhow!("opensk refused its provisioning: {code:?}");
    let aaguid = match &arguments.aaguid {
        Some(hex) => aaguid_from_hex(hex).context("--aaguid wants 32 hex digits")?,
        None => Firmware::OpenSk.aaguid(),
    };
    board.set_aaguid(&aaguid).map_err(firmware)?;
    let id = match arguments.enterprise_rp_id.is_empty() {
        true => AttestationId::Batch,
        false => AttestationId::Enterprise,
    };
    if board.get_attestation(id).map_err(firmware)?.is_none() {
        let key = std::fs::read(&arguments.attestation_key).context("attestation key")?;
        let scalar = scalar(&key).context("attestation key is not a P-256 key in PKCS#8 DER")?;
        let attestation = Attestation {
            wrapped_private_key: scalar.to_vec(),
            certificate: std::fs::read(&arguments.attestation_cert)
                .context("attestation certificate")?,
        };
        board.set_attestation(id, Some(&attestation)).map_err(firmware)?;
    }
    ensure!(arguments.fingers.len() <= sensor::ROOM, "the sensor has room for five fingers");
    if board.memory().borrow().fingers().is_empty() {
        for (template, finger) in (1u32..).zip(&arguments.fingers) {
            board.memory().borrow_mut().insert_finger(template, finger)?;
            board.store_template_id(sensor::template_id(template)).map_err(firmware)?;
        }
    }
    Ok(())
}
