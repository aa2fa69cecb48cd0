//! Logs in good form that do not lead to what was quoted, or claim what was not measured.

use super::{Forgery, edited, forgery};
use crate::machine::{
    ACTION, DRIVER_CONFIG, Event, Machine, NO_ACTION, SEPARATOR, grub, secure_boot,
};

const EVIL: &str = "/vmlinuz-6.12 root=UUID=0b7c ro init=/bin/sh";

pub(super) fn all() -> Vec<Forgery> {
    [replays(), claims()].into_iter().flatten().collect()
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
