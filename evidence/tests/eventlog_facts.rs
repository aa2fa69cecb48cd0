//! What the logs of real machines say, and what they do not say where nothing measured it.
#![allow(clippy::unwrap_used, reason = "a test says by panicking that it failed")]

use std::collections::BTreeSet;

use signet_evidence::eventlog::{
    BootFacts, Content, Database, EventLog, Limits, SecureBoot, UnprovenSecureBoot,
};
use signet_evidence::tpm::HashAlgorithm;

macro_rules! log {
    ($name:literal) => {
        EventLog::parse(
            include_bytes!(concat!("../../fixtures/published/eventlogs/", $name)),
            &Limits::default(),
        )
        .unwrap()
    };
}

fn facts<'a>(log: &EventLog<'a>, bank: HashAlgorithm) -> BootFacts<'a> {
    BootFacts::of(log, bank, &(0..24).collect())
}

fn thumbprints(database: &Database<'_>) -> Vec<String> {
    let Database::Known(database) = database else { panic!("{database:?}") };
    database.certificates.iter().map(|entry| entry.thumbprint().to_hex()).collect()
}

/// Microsoft Corporation UEFI CA 2011.
const MICROSOFT_UEFI_CA: &str = "48e99b991f57fc52f76149599bff0a58c47154229b9f8d603ac40d3500248507";
/// Red Hat Secure Boot CA 5, built into Red Hat's shim.
const RED_HAT_CA: &str = "40175d4c7c5ab4bd753a493f47952f1d8dcf1c219b836968a693e48bd4766135";

#[test]
fn secure_boot_as_each_machine_measured_it() {
    use HashAlgorithm::{Sha1, Sha256};
    let on = [
        (log!("rhel8-uefi.bin"), Sha256),
        (log!("cos-101-amd-sev.bin"), Sha256),
        (log!("debian-12-vm.bin"), Sha256),
        (log!("gce-cos-85.bin"), Sha256),
        (log!("keylime-secureboot.bin"), Sha256),
        (log!("event-moklisttrusted.bin"), Sha256),
        (log!("sb_cert_eventlog.bin"), Sha256),
        (log!("debian-10.bin"), Sha1),
        (log!("windows-gce.bin"), Sha1),
        (log!("option_rom_eventlog.bin"), Sha1),
    ];
    for (log, bank) in &on {
        assert_eq!(facts(log, *bank).secure_boot, SecureBoot::On);
    }
    let off = [
        (log!("arch-linux-workstation.bin"), Sha256),
        (log!("crypto_agile_eventlog.bin"), Sha256),
        (log!("ubuntu-2104-no-dbx.bin"), Sha256),
        (log!("keylime-mb.bin"), Sha256),
        (log!("rust-keylime-uefi_log.bin"), Sha256),
        (log!("event-sd-boot-fedora37.bin"), Sha256),
        (log!("event-uefi-sha1-log.bin"), Sha1),
    ];
    for (log, bank) in &off {
        assert_eq!(facts(log, *bank).secure_boot, SecureBoot::Off);
    }
    // This firmware for TPM 1.2 hashes a variable's data alone: a name that was not measured is none.
    let log = log!("linux-tpm12.bin");
    let opaque = UnprovenSecureBoot::Opaque(6);
    assert_eq!(facts(&log, Sha1).secure_boot, SecureBoot::Unproven(opaque));
}

#[test]
fn a_log_of_sha1_says_nothing_in_another_bank() {
    let log = log!("debian-10.bin");
    let found = facts(&log, HashAlgorithm::Sha256);
    assert_eq!(found.secure_boot, SecureBoot::Unproven(UnprovenSecureBoot::NotProven));
    assert_eq!(found.measured, []);
}

#[test]
fn what_is_not_proven_by_a_quote_is_not_a_fact() {
    let log = log!("rhel8-uefi.bin");
    let found = BootFacts::of(&log, HashAlgorithm::Sha256, &BTreeSet::from([0, 4]));
    assert_eq!(found.secure_boot, SecureBoot::Unproven(UnprovenSecureBoot::NotProven));
    assert_eq!(
        (found.db, found.authorities.len(), found.strings.len()),
        (Database::Unproven, 0, 0)
    );
    assert_eq!(found.measured.iter().filter(|event| !matches!(event.pcr, 0 | 4)).count(), 0);
}

#[test]
fn red_hat_8_on_a_virtual_machine() {
    let log = log!("rhel8-uefi.bin");
    for bank in [HashAlgorithm::Sha256, HashAlgorithm::Sha384] {
        let found = facts(&log, bank);
        assert_eq!(thumbprints(&found.db)[0], MICROSOFT_UEFI_CA);
        assert_eq!((thumbprints(&found.pk).len(), thumbprints(&found.kek).len()), (1, 1));
        let Database::Known(dbx) = &found.dbx else { panic!("{:?}", found.dbx) };
        assert_eq!((dbx.certificates.len(), dbx.images.len(), dbx.others), (3, 183, 0));
        let authorities: Vec<_> = found
            .authorities
            .iter()
            .map(|authority| {
                let certificate = authority.certificate.as_ref().unwrap();
                (authority.variable.name.as_str(), certificate.thumbprint().to_hex())
            })
            .collect();
        assert_eq!(
            authorities,
            [("db", MICROSOFT_UEFI_CA.to_owned()), ("Shim", RED_HAT_CA.to_owned())]
        );
        assert_eq!(found.boot_order, Some(vec![2, 0, 1]));
        // shim, GRUB, the kernel; the path of the last one was not logged.
        let images: Vec<_> = found.opaque(4).map(|image| image.hint.as_deref()).collect();
        let paths = [Some("\\EFI\\redhat\\shimx64.efi"), Some("\\EFI\\redhat\\grubx64.efi"), None];
        assert_eq!(images, paths);
        assert_eq!(found.opaque(14).count(), 2);
        let said: Vec<_> = found.strings.iter().filter(|string| string.said_command_line).collect();
        assert_eq!(said.len(), 1);
        assert_eq!(
            said[0].text,
            "(hd0,gpt2)/boot/vmlinuz-4.18.0-240.22.1.el8_3.x86_64 \
             root=UUID=f3948fb4-cce7-4193-940a-c50052e93bf3 ro net.ifnames=0 biosdevname=0 \
             scsi_mod.use_blk_mq=Y crashkernel=auto console=ttyS0,38400n8"
        );
        assert_eq!(found.strings.len(), 50);
    }
}

#[test]
fn systemd_boot_measures_its_command_line_in_utf_16() {
    let log = log!("arch-linux-workstation.bin");
    let found = facts(&log, HashAlgorithm::Sha256);
    let [line] = found.strings.as_slice() else { panic!("{:?}", found.strings) };
    assert_eq!((line.event, line.pcr, line.said_command_line), (24, 8, true));
    assert!(line.text.starts_with("initrd=\\intel-ucode.img initrd=\\initramfs-linux-lts.img"));
    assert!(line.text.ends_with("intel_iommu=on iommu=pt l1tf=off"));
    let log = log!("event-sd-boot-fedora37.bin");
    let found = facts(&log, HashAlgorithm::Sha256);
    assert_eq!(found.strings[0].pcr, 12);
    assert_eq!(found.strings[0].text, " console=ttyS0 console=tty0 efi=debug ");
}

#[test]
fn every_measurement_in_the_security_pcr_is_understood() {
    for log in [
        log!("rhel8-uefi.bin"),
        log!("keylime-mb.bin"),
        log!("keylime-secureboot.bin"),
        log!("rust-keylime-uefi_log.bin"),
        log!("event-moklisttrusted.bin"),
        log!("cos-101-amd-sev.bin"),
        log!("sb_cert_eventlog.bin"),
    ] {
        let found = facts(&log, HashAlgorithm::Sha256);
        for event in found.measured.iter().filter(|event| event.pcr == 7) {
            let understood = matches!(event.content, Content::Variable(_) | Content::Separator);
            assert!(understood, "{event:?}");
        }
    }
}
