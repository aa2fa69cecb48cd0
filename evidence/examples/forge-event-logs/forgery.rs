//! The forgeries: what is done to a genuine log, whose PCRs it is held against, and the reason for
//! which it must be refused.

use crate::machine::{
    ACTION, DRIVER_CONFIG, Event, Machine, NO_ACTION, SEPARATOR, SHA256, SHA384, grub, locality,
    secure_boot,
};
use signet_evidence::tpm::HashAlgorithm;

/// One fixture.
pub(crate) struct Forgery {
    /// The folder: what kind of refusal.
    pub(crate) code: &'static str,
    /// The file.
    pub(crate) name: &'static str,
    /// The exact reason.
    pub(crate) reason: String,
    /// Tighter limits, as `bytes=N` or `events=N`.
    pub(crate) limits: &'static str,
    /// The machine whose TPM is quoted.
    pub(crate) quoted: Machine,
    /// The bank that is quoted.
    pub(crate) bank: HashAlgorithm,
    /// What was done.
    pub(crate) comment: &'static str,
    /// The forged log.
    pub(crate) log: Vec<u8>,
}

const EVIL: &str = "/vmlinuz-6.12 root=UUID=0b7c ro init=/bin/sh";

/// All forgeries, and the genuine log.
pub(crate) fn all() -> Vec<Forgery> {
    [accepted(), bytes(), spec_id(), digests(), localities(), banks(), replays(), claims()]
        .into_iter()
        .flatten()
        .collect()
}

fn accepted() -> Vec<Forgery> {
    let log = Machine::genuine().log();
    let genuine = |name, comment, log| forgery(("accepted", name), "On", comment, log);
    let unused = |byte: u8| [log.clone(), vec![byte; 64]].concat();
    vec![
        genuine("sha256", "the genuine log", log.clone()),
        genuine("sha384", "the genuine log", log.clone()).in_bank(SHA384),
        genuine("zeros-behind", "room that the firmware did not use", unused(0)),
        genuine("ones-behind", "room that the firmware did not use", unused(0xff)),
    ]
}

fn forgery(
    (code, name): (&'static str, &'static str),
    reason: impl Into<String>,
    comment: &'static str,
    log: Vec<u8>,
) -> Forgery {
    let quoted = Machine::genuine();
    Forgery {
        code,
        name,
        reason: reason.into(),
        limits: "default",
        quoted,
        bank: SHA256,
        comment,
        log,
    }
}

impl Forgery {
    fn against(self, quoted: Machine) -> Self {
        Self { quoted, ..self }
    }

    fn within(self, limits: &'static str) -> Self {
        Self { limits, ..self }
    }

    fn in_bank(self, bank: HashAlgorithm) -> Self {
        Self { bank, ..self }
    }
}

/// A genuine log with one byte string in the place of another.
fn patched(at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut log = Machine::genuine().log();
    log[at..at + bytes.len()].copy_from_slice(bytes);
    log
}

fn edited(edit: impl FnOnce(&mut Machine)) -> Machine {
    let mut machine = Machine::genuine();
    edit(&mut machine);
    machine
}

/// Logs that end too early or claim too much.
fn bytes() -> Vec<Forgery> {
    let genuine = Machine::genuine();
    let log = genuine.log();
    let second = genuine.offset(2);
    let last = genuine.events.len();
    let cut = |at: usize| log[..at].to_vec();
    let last_size = log.len() - genuine.events[last - 1].data.len() - 4;
    let one_more = u32::try_from(genuine.events[last - 1].data.len() + 1).unwrap();
    vec![
        forgery(("missing", "nothing"), "Missing", "no byte at all", Vec::new()),
        forgery(
            ("too-long", "more-bytes-than-allowed"),
            format!("TooLong {{ length: {}, limit: 1024 }}", log.len()),
            "a genuine log where 1,024 bytes are allowed",
            log.clone(),
        )
        .within("bytes=1024"),
        forgery(
            ("too-long", "more-events-than-allowed"),
            "TooManyEvents { limit: 10 }",
            "a genuine log where 10 events are allowed",
            log.clone(),
        )
        .within("events=10"),
        forgery(
            ("truncated", "in-the-first-event"),
            "Truncated { offset: 8, needed: 20, left: 12 }",
            "cut in the digest of the Spec ID event",
            cut(20),
        ),
        forgery(
            ("truncated", "in-a-digest"),
            format!("Truncated {{ offset: {}, needed: 32, left: 16 }}", second + 14),
            "cut in the SHA-256 digest of event 2",
            cut(second + 30),
        ),
        forgery(
            ("truncated", "in-a-length"),
            format!("Truncated {{ offset: {last_size}, needed: 4, left: 2 }}"),
            "cut in the length of the last event's data",
            cut(last_size + 2),
        ),
        forgery(
            ("truncated", "in-the-last-event"),
            format!("Truncated {{ offset: {}, needed: 40, left: 39 }}", last_size + 4),
            "the last byte is missing",
            cut(log.len() - 1),
        ),
        forgery(
            ("truncated", "length-one-too-many"),
            format!("Truncated {{ offset: {}, needed: 41, left: 40 }}", last_size + 4),
            "the last event claims one byte that is not there",
            patched(last_size, &one_more.to_le_bytes()),
        ),
        forgery(
            ("length-overflow", "all-ones"),
            format!("LengthOverflow {{ offset: {last_size}, length: 4294967295, limit: 131072 }}"),
            "the last event claims 4 GiB",
            patched(last_size, &[0xff; 4]),
        ),
        forgery(
            ("length-overflow", "in-the-first-event"),
            "LengthOverflow { offset: 28, length: 2147483648, limit: 131072 }",
            "the Spec ID event claims 2 GiB",
            patched(28, &0x8000_0000_u32.to_le_bytes()),
        ),
        forgery(
            ("length-overflow", "one-above-the-limit"),
            format!("LengthOverflow {{ offset: {last_size}, length: 131073, limit: 131072 }}"),
            "the last event claims one byte more than any may have",
            patched(last_size, &131_073_u32.to_le_bytes()),
        ),
    ]
}

/// Offsets in the first event: its data begins at 32.
fn spec_id() -> Vec<Forgery> {
    let spec = |name, reason: &str, comment, at, bytes: &[u8]| {
        forgery(("spec-id", name), format!("SpecId({reason})"), comment, patched(at, bytes))
    };
    let banks = |name, reason: &str, comment, banks: &[(u16, u16)]| {
        let log = edited(|machine| machine.banks = banks.to_vec()).log();
        forgery(("spec-id", name), format!("SpecId({reason})"), comment, log)
    };
    vec![
        spec("version", "Version", "Spec ID Event04", 46, b"4"),
        spec("with-a-digest", "Measured", "the Spec ID event has a digest", 8, &[1]),
        spec("in-another-pcr", "Measured", "the Spec ID event is in PCR 7", 0, &[7]),
        spec("no-banks", "BankCount { found: 0 }", "it declares no bank", 56, &[0]),
        spec(
            "many-banks",
            "BankCount { found: 4294967295 }",
            "it declares 4 billion banks",
            56,
            &[0xff; 4],
        ),
        spec("one-bank-more", "Length", "it declares three banks where two are", 56, &[3]),
        spec("one-bank-less", "Length", "it declares one bank where two are", 56, &[1]),
        spec("vendor-info", "Length", "it claims vendor information that is not there", 68, &[9]),
        banks(
            "short-digest",
            "DigestLength { id: 11, length: 20 }",
            "SHA-256 with 20 bytes",
            &[(11, 20), (12, 48)],
        ),
        banks(
            "long-digest",
            "DigestLength { id: 39, length: 65535 }",
            "an unknown bank with 65,535 bytes",
            &[(11, 32), (39, 0xffff)],
        ),
        banks(
            "same-bank-twice",
            "DuplicateBank { id: 11 }",
            "SHA-256 twice",
            &[(11, 32), (11, 32)],
        ),
    ]
}

fn digests() -> Vec<Forgery> {
    let at = Machine::genuine().offset(5);
    let digests = |name, reason: String, comment, edit: &dyn Fn(&mut Event)| {
        let log = edited(|machine| edit(machine.event(5))).log();
        forgery(name, reason, comment, log)
    };
    let count = |found: u32| format!("DigestCount {{ offset: {at}, found: {found}, declared: 2 }}");
    vec![
        digests(("digest-count", "one-less"), count(1), "event 5 has one digest", &|event| {
            event.digests.pop();
        }),
        digests(("digest-count", "one-more"), count(3), "event 5 has three digests", &|event| {
            event.digests.push((4, vec![0; 20]))
        }),
        forgery(
            ("digest-count", "lies"),
            count(u32::MAX),
            "event 5 claims 4 billion digests",
            patched(at + 8, &[0xff; 4]),
        ),
        digests(("digest-count", "none"), count(0), "event 5 has no digest", &|event| {
            event.digests.clear()
        }),
        digests(
            ("unknown-algorithm", "not-declared"),
            format!("UnknownAlgorithm {{ offset: {}, id: 18 }}", at + 12),
            "event 5 has a digest of SM3, which is not declared",
            &|event| event.digests[0].0 = 18,
        ),
        digests(
            ("duplicate-digest", "same-bank"),
            format!("DuplicateDigest {{ offset: {}, id: 11 }}", at + 12 + 34),
            "event 5 has two digests of SHA-256",
            &|event| event.digests[1] = event.digests[0].clone(),
        ),
        digests(
            ("no-such-pcr", "24"),
            format!("NoSuchPcr {{ offset: {at}, pcr: 24 }}"),
            "event 5 is in PCR 24",
            &|event| event.pcr = 24,
        ),
        digests(
            ("no-such-pcr", "all-ones"),
            format!("NoSuchPcr {{ offset: {at}, pcr: 4294967295 }}"),
            "event 5 is in PCR 4294967295",
            &|event| event.pcr = u32::MAX,
        ),
    ]
}

fn localities() -> Vec<Forgery> {
    let wrong = |name, comment, edit: &dyn Fn(&mut Machine), event| {
        let machine = edited(|machine| edit(machine));
        let reason = format!("StartupLocality {{ offset: {} }}", machine.offset(event));
        forgery(("startup-locality", name), reason, comment, machine.log())
    };
    vec![
        wrong(
            "twice",
            "a second locality follows the first",
            &|machine| machine.events.insert(1, locality(0)),
            2,
        ),
        wrong(
            "after-pcr-0",
            "the locality stands behind the first event of PCR 0",
            &|machine| machine.events.swap(0, 1),
            2,
        ),
        wrong(
            "nine",
            "the TPM is said to have been started at locality 9",
            &|machine| machine.events[0] = locality(9),
            1,
        ),
        wrong(
            "without-a-value",
            "the event ends before the locality",
            &|machine| {
                machine.events[0].data.pop();
            },
            1,
        ),
        forgery(
            ("mismatch", "another-locality"),
            "PCR 0 at 2: OtherLocality(3)",
            "the log says locality 0 where it was 3",
            edited(|machine| machine.events[0] = locality(0)).log(),
        ),
        forgery(
            ("mismatch", "locality-removed"),
            "PCR 0 at 1: OtherLocality(3)",
            "the log says no locality where it was 3",
            edited(|machine| {
                machine.events.remove(0);
            })
            .log(),
        ),
    ]
}

fn banks() -> Vec<Forgery> {
    let only = |keep: usize| {
        edited(|machine| {
            machine.banks = vec![machine.banks[keep]];
            for event in &mut machine.events {
                event.digests = vec![event.digests[keep].clone()];
            }
        })
        .log()
    };
    let strong = edited(|machine| {
        let other = machine.event(20).digests[1].clone();
        machine.event(21).digests[1] = other;
    });
    vec![
        forgery(
            ("no-such-bank", "old-format"),
            "NoSuchBank { bank: Sha256 }",
            "digests of SHA-1 against a quote of SHA-256",
            Machine::genuine().old_log(),
        ),
        forgery(
            ("no-such-bank", "sha384-only"),
            "NoSuchBank { bank: Sha256 }",
            "digests of SHA-384 against a quote of SHA-256",
            only(1),
        ),
        forgery(
            ("no-such-bank", "sha256-only"),
            "NoSuchBank { bank: Sha384 }",
            "digests of SHA-256 against a quote of SHA-384",
            only(0),
        )
        .in_bank(SHA384),
        forgery(
            ("mismatch", "one-bank-forged"),
            "PCR 4 at 16: Unknown",
            "true in SHA-256, forged in SHA-384, against a quote of SHA-384",
            strong.log(),
        )
        .in_bank(SHA384),
    ]
}

/// Logs that do not lead to the quoted PCRs.
fn replays() -> Vec<Forgery> {
    let genuine = Machine::genuine();
    let shim = genuine.number(&grubby("shimx64.efi"));
    let grub_image = genuine.number(&grubby("grubx64.efi"));
    let mismatch = |name, reason: &str, comment, edit: &dyn Fn(&mut Machine)| {
        let log = edited(|machine| edit(machine)).log();
        forgery(("mismatch", name), reason, comment, log)
    };
    vec![
        mismatch(
            "reordered",
            "PCR 4 at 16: Unknown",
            "GRUB and shim in each other's place",
            &|machine| machine.events.swap(shim - 1, grub_image - 1),
        ),
        mismatch(
            "retyped-as-unmeasured",
            "PCR 7 at 5: Unknown",
            "the event of SecureBoot says that it was not extended",
            &|machine| machine.event(4).kind = NO_ACTION,
        ),
        mismatch(
            "separator-twice",
            "PCR 7 at 4: Unknown",
            "a second separator in PCR 7",
            &|machine| {
                let again = machine.events[8].clone();
                machine.events.insert(9, again);
            },
        ),
        mismatch(
            "separator-removed",
            "PCR 7 at 4: Unknown",
            "PCR 7 without its separator",
            &|machine| {
                machine.events.remove(8);
            },
        ),
        mismatch(
            "hash-swapped",
            "PCR 4 at 16: Unknown",
            "shim with the digest of GRUB",
            &|machine| {
                let digests = machine.event(grub_image).digests.clone();
                machine.event(shim).digests = digests;
            },
        ),
        mismatch(
            "one-bit",
            "PCR 4 at 16: Unknown",
            "one bit of shim's digest changed",
            &|machine| machine.event(shim).digests[0].1[31] ^= 1,
        ),
        mismatch(
            "other-pcr",
            "PCR 4 at 16: Unknown; PCR 5 at 17: Unknown",
            "shim moved to PCR 5",
            &|machine| machine.event(shim).pcr = 5,
        ),
        mismatch("event-removed", "PCR 4 at 16: Unknown", "shim left out", &|machine| {
            machine.events.remove(shim - 1);
        }),
        mismatch(
            "event-added",
            "PCR 4 at 30: LogGoesOn",
            "an image that was never started, at the end",
            &|machine| {
                let image = machine.event(shim).clone();
                machine.events.push(image);
            },
        ),
        mismatch(
            "cut-between-events",
            "PCR 5 at 17: Unknown",
            "the last two events left out",
            &|machine| {
                let left = machine.events.len() - 2;
                machine.events.truncate(left);
            },
        ),
        mismatch(
            "all-zero-digest",
            "PCR 7 at 4: Unknown",
            "the digest of SecureBoot overwritten with zeros",
            &|machine| {
                for (_, digest) in &mut machine.event(4).digests {
                    digest.fill(0)
                }
            },
        ),
        forgery(
            ("mismatch", "of-another-machine"),
            "PCR 7 at 4: Unknown; PCR 8 at 25: Unknown",
            "a genuine log against the quote of a machine with Secure Boot off",
            genuine.log(),
        )
        .against(Machine::workstation(0, EVIL)),
    ]
}

fn grubby(file: &str) -> Vec<u8> {
    let path: Vec<u8> = file.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect();
    [path, vec![0x7f, 0xff, 4, 0]].concat()
}

/// Logs that do lead to the quoted PCRs of a machine with Secure Boot off, or with something else
/// amiss, and claim what was not measured.
fn claims() -> Vec<Forgery> {
    let off = || Machine::workstation(0, EVIL);
    let claim = |name, reason: &str, comment, machine: Machine, edit: &dyn Fn(&mut Machine)| {
        let mut forged = machine.clone();
        edit(&mut forged);
        forgery(
            (if reason == "Off" { "secure-boot-off" } else { "secure-boot-unproven" }, name),
            reason,
            comment,
            forged.log(),
        )
        .against(machine)
    };
    let measured = |machine: Machine, edit: &dyn Fn(&mut Machine)| {
        let mut machine = machine;
        edit(&mut machine);
        machine
    };
    // After the firmware is done, the running system extends PCR 7 as it likes.
    let extended = || {
        measured(off(), &|machine| {
            machine.events.push(Event::whole(7, DRIVER_CONFIG, &secure_boot(&[1])));
            machine.events.push(Event::whole(7, SEPARATOR, &[0; 4]));
        })
    };
    vec![
        claim("as-it-was", "Off", "the true log of a machine with Secure Boot off", off(), &|_| {}),
        claim(
            "claimed-in-the-data",
            "Unproven(Opaque(4))",
            "SecureBoot = 1 over the digest of SecureBoot = 0",
            off(),
            &|machine| machine.event(4).data = secure_boot(&[1]),
        ),
        claim(
            "claimed-and-retyped",
            "Unproven(Opaque(4))",
            "the same, called an action of the firmware",
            off(),
            &|machine| {
                machine.event(4).data = secure_boot(&[1]);
                machine.event(4).kind = ACTION;
            },
        ),
        claim(
            "data-removed",
            "Unproven(Opaque(4))",
            "what SecureBoot held is left out",
            off(),
            &|machine| machine.event(4).data.clear(),
        ),
        claim(
            "name-removed",
            "Unproven(Opaque(4))",
            "the name of the variable is overwritten",
            off(),
            &|machine| machine.event(4).data[32] ^= 1,
        ),
        claim(
            "extended-later",
            "Off",
            "the running system extended SecureBoot = 1 and a separator",
            extended(),
            &|_| {},
        ),
        claim(
            "extended-later-and-first-hidden",
            "Unproven(Opaque(4))",
            "the same, and what the firmware measured is hidden",
            extended(),
            &|machine| machine.event(4).data.clear(),
        ),
        claim(
            "separator-disguised",
            "Off",
            "the same with the firmware's separator called an action",
            extended(),
            &|machine| {
                machine.event(9).kind = ACTION;
                machine.event(9).data = b"nothing".to_vec();
            },
        ),
        claim(
            "retyped",
            "Off",
            "SecureBoot = 0 called an action of the firmware",
            off(),
            &|machine| machine.event(4).kind = ACTION,
        ),
        claim(
            "debug-mode",
            "Unproven(DebugMode(9))",
            "a debugger was attached to the firmware",
            measured(Machine::genuine(), &|machine| {
                machine.events.insert(8, Event::whole(7, ACTION, b"UEFI Debug Mode"));
            }),
            &|_| {},
        ),
        claim(
            "error-separator",
            "Unproven(ErrorSeparator(9))",
            "the firmware closed PCR 7 with an error",
            measured(Machine::genuine(), &|machine| {
                machine.events[8] = Event::whole(7, SEPARATOR, &1_u32.to_le_bytes());
            }),
            &|_| {},
        ),
        claim(
            "no-separator",
            "Unproven(NoSeparator)",
            "the firmware never closed PCR 7",
            measured(Machine::genuine(), &|machine| {
                machine.events.remove(8);
            }),
            &|_| {},
        ),
        claim(
            "measured-twice",
            "Unproven(Repeated(5))",
            "SecureBoot = 1, then SecureBoot = 0",
            measured(Machine::genuine(), &|machine| {
                machine.events.insert(4, Event::whole(7, DRIVER_CONFIG, &secure_boot(&[0])));
            }),
            &|_| {},
        ),
        claim(
            "neither-on-nor-off",
            "Unproven(Value(4))",
            "SecureBoot = 2",
            Machine::workstation(2, EVIL),
            &|_| {},
        ),
        claim(
            "not-measured",
            "Unproven(NotMeasured)",
            "the firmware measures no SecureBoot",
            measured(Machine::genuine(), &|machine| {
                machine.events.remove(3);
            }),
            &|_| {},
        ),
        // PCR 8 is the matter of the policy: here only that the log replays with its labels swapped.
        claim(
            "labels-swapped",
            "Off",
            "the command line that was started called a command, an innocent one called the command line",
            measured(off(), &|machine| {
                let at = machine.number(b"Exit Boot Services Invocation") - 1;
                machine
                    .events
                    .insert(at, grub("grub_cmd: ", "/vmlinuz-6.12 root=UUID=0b7c ro quiet"));
            }),
            &|machine| {
                let line = machine.number(format!("{EVIL}\0").as_bytes());
                for event in &mut machine.events[line..] {
                    if event.pcr == 8 {
                        let text = event.data.strip_prefix(b"grub_cmd: ").map(<[u8]>::to_vec);
                        event.data =
                            [b"kernel_cmdline: ".to_vec(), text.unwrap_or_default()].concat();
                    }
                }
            },
        ),
    ]
}
