//! The rules at their edges: what each judges, and what it leaves alone.

use super::machine::{
    AUTHORITY, DRIVER_CONFIG, Event, Machine, SECURITY, SEPARATOR, SHA256, SHA256_IMAGE, SHIM,
    X509, signature_list, variable,
};
use super::{findings, held, held_by, learned, proven};
use signet_evidence::thumbprint::hex;
use signet_verifier::boot::{
    Allowed, Baseline, Change, Finding, MachinePolicy, Mode, SignatureStore, differences,
};

fn policy(text: &str) -> MachinePolicy {
    let text = format!("name = \"x\"\nmode = \"enforce\"\n[log]\nexplains = []\n{text}");
    MachinePolicy::from_toml(&text).unwrap_or_else(|error| panic!("{error:?}\n{text}"))
}

/// What a policy made of `rules` minds of this machine.
fn minded(machine: &Machine, rules: &str) -> Vec<Finding> {
    findings(&held_by(machine), Some(&machine.log()), &policy(rules))
}

fn config(machine: &mut Machine, number: usize, name: &str, data: &[u8]) {
    *machine.event(number) = Event::whole(7, DRIVER_CONFIG, &variable(SECURITY, name, data));
}

/// A quote has to cover what is judged, and nothing more.
#[test]
fn a_policy_judges_the_pcrs_that_its_rules_need() {
    let judged = |text: &str| Vec::from_iter(policy(text).judged_pcrs());
    let not_required = |text: &str| judged(&format!("required = false\n{text}"));
    let seventh = ["secure_boot = true", "dbx_images = []", "signers = []"];
    let stores = ["pk_certificates = []", "kek_certificates = []", "db_certificates = []"];
    for rule in seventh.into_iter().chain(stores) {
        assert_eq!(not_required(&format!("[rules]\n{rule}")), [7], "{rule}");
    }
    for rule in ["boot_texts = []", "boot_text_patterns = []"] {
        assert_eq!(not_required(&format!("[rules]\n{rule}")), [8, 12], "{rule}");
    }
    assert_eq!(not_required("[pcrs]\n6 = []\n[measurements]\n4 = []"), [4, 6]);
    let explaining = |required: bool, rest: &str| {
        let text = format!(
            "name = \"x\"\nmode = \"warn\"\n[log]\nrequired = {required}\nexplains = [3, 23]\n{rest}"
        );
        Vec::from_iter(MachinePolicy::from_toml(&text).unwrap().judged_pcrs())
    };
    // A log that need not come, and from which nothing is read, explains nothing.
    assert_eq!(explaining(false, "[pcrs]\n6 = []"), [6]);
    assert_eq!(explaining(true, "[pcrs]\n6 = []"), [3, 6, 23]);
    assert_eq!(explaining(false, "[measurements]\n4 = []"), [3, 4, 23]);
}

#[test]
fn what_db_holds_besides_certificates_is_judged_with_them() {
    let mut machine = Machine::genuine();
    let lists = [
        signature_list(X509, &[9; 20]),
        signature_list(SHA256_IMAGE, &[5; 32]),
        signature_list(SHA256_IMAGE, &[6; 32]),
        signature_list(SHIM, &[1; 4]),
    ];
    config(&mut machine, 7, "db", &lists.concat());
    let (certificate, image) = (hex(&SHA256.digest(&[&[9; 20]])), "05".repeat(32));
    let rules = format!(
        "[rules]\ndb_certificates = [{{ digest = \"{certificate}\" }}]\n\
         db_images = [{{ digest = \"{image}\" }}]"
    );
    let store = SignatureStore::Db;
    assert_eq!(
        minded(&machine, &rules),
        [Finding::Image { store, digest: vec![6; 32] }, Finding::OtherEntries { store, count: 1 }]
    );
}

#[test]
fn shim_is_told_not_to_check_by_one_variable_and_one_value() {
    for (name, value, off) in
        [("MokSBState", 1, true), ("MokSBState", 0, false), ("SbatLevel", 1, false)]
    {
        let mut machine = Machine::genuine();
        let data = variable(SHIM, name, &[value]);
        machine.events.insert(22, Event::whole(7, AUTHORITY, &data));
        let expected = off.then_some(Finding::ShimValidationOff { event: 23 });
        let found = minded(&machine, "[rules]\nsecure_boot = true");
        assert_eq!(found, Vec::from_iter(expected), "{name} {value}");
    }
}

/// Everything behind the separator of PCR 7 verified something, unless the policy lists it there.
#[test]
fn signers_are_all_that_stands_behind_the_separator() {
    let mut machine = Machine::genuine();
    let of_signers = |machine: &Machine, listed: &str| {
        let mut found = minded(machine, &format!("{listed}\n[rules]\nsigners = []"));
        found.retain(|finding| finding.rule() == "rules.signers");
        found
    };
    let names = |found: &[Finding]| {
        let name = |finding: &Finding| match finding {
            Finding::Signer { variable, .. } => variable.clone(),
            other => other.to_string(),
        };
        found.iter().map(name).collect::<Vec<_>>()
    };
    assert_eq!(names(&of_signers(&machine, "")), ["db", "Shim"]);
    let signer = machine.events.iter().find(|event| event.kind == AUTHORITY).unwrap();
    let listed = |pcr: u8| {
        let digest = hex(&signer.digests[0].1);
        format!("[measurements]\n{pcr} = [{{ digest = \"{digest}\" }}]")
    };
    let (here, elsewhere) = (listed(7), listed(4));
    assert_eq!(names(&of_signers(&machine, &here)), ["Shim"]);
    assert_eq!(names(&of_signers(&machine, &elsewhere)), ["db", "Shim"]);
    // A separator says nothing; what hides itself may say anything.
    machine.events.push(Event::whole(7, SEPARATOR, &[0; 4]));
    assert_eq!(names(&of_signers(&machine, "")), ["db", "Shim"]);
    machine.events.push(Event::of(7, AUTHORITY, &[0xff], b"hidden"));
    let found = of_signers(&machine, "");
    assert!(matches!(&found[2..], [Finding::SignerHidden(hidden)]
        if hidden.event == machine.events.len() && hidden.what == "hidden Secure Boot event"));
}

#[test]
fn a_changed_measurement_is_told_with_what_was_in_its_place() {
    let one = Machine::genuine();
    let policy = learned(&[(&one.log(), held_by(&one))]);
    let mut two = one.clone();
    let images: Vec<usize> =
        (0..two.events.len()).filter(|at| two.events[*at].kind == 0x8000_0003).collect();
    for (at, image) in images.iter().zip([b"newer shim", b"newer GRUB"]) {
        two.events[*at].digests[0].1 = SHA256.digest(&[image]);
    }
    let found = findings(&held_by(&two), Some(&two.log()), &policy);
    let was = |image: usize, name: &str| Allowed {
        digest: one.events[image].digests[0].1.clone(),
        what: format!("boot image (said to be \\EFI\\{name})"),
    };
    let told: Vec<_> = found
        .iter()
        .map(|finding| match finding {
            Finding::Measurement { found, before } => (found.what.clone(), before.clone()),
            other => panic!("{other}"),
        })
        .collect();
    let (shim, grub) = (was(images[0], "shimx64.efi"), was(images[1], "grubx64.efi"));
    assert_eq!(told, [(shim.what.clone(), vec![shim]), (grub.what.clone(), vec![grub])]);
    // Between two boots likewise: each is told with its own predecessor.
    let (old, new) = (one.log(), two.log());
    let changes = differences(&proven(&old, &held_by(&one)), &proven(&new, &held_by(&two)));
    for (change, image) in changes.iter().zip(&images) {
        let Change::Changed { old, new } = change else { panic!("{change}") };
        assert_eq!((old.event, new.event, &old.what), (image + 1, image + 1, &new.what));
    }
    assert_eq!(changes.len(), 2);
}

#[test]
fn machines_that_are_alike_differ_in_nothing() {
    let machine = Machine::genuine();
    let (log, quoted) = (machine.log(), held_by(&machine));
    let alike = Baseline::learn(&[proven(&log, &quoted), proven(&log, &quoted)]).unwrap();
    assert_eq!(alike.differing(), []);
}

/// What one machine does not show is no rule for all, whichever comes first.
#[test]
fn databases_are_learned_only_where_every_machine_shows_them() {
    let one = Machine::genuine();
    let mut two = one.clone();
    config(&mut two, 7, "db", &[1; 5]);
    let logs = [one.log(), two.log()];
    for order in [[0, 1], [1, 0]] {
        let machines = order.map(|at| proven(&logs[at], &held(&logs[at])));
        let text = Baseline::learn(&machines).unwrap().to_toml("both", Mode::Monitor);
        assert!(text.contains("secure_boot = true") && !text.contains("certificates"), "{text}");
    }
    let alone = Baseline::learn(&[proven(&logs[0], &held(&logs[0]))]).unwrap();
    assert!(alone.to_toml("one", Mode::Monitor).contains("db_certificates = ["));
}
