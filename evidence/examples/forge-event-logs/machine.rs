//! Invented machines: the events that their firmware measures, the log, and the PCRs.

use std::collections::BTreeMap;

use signet_evidence::tpm::HashAlgorithm;

pub(crate) const SHA256: HashAlgorithm = HashAlgorithm::Sha256;
pub(crate) const SHA384: HashAlgorithm = HashAlgorithm::Sha384;

pub(crate) const NO_ACTION: u32 = 3;
pub(crate) const SEPARATOR: u32 = 4;
const IPL: u32 = 0xd;
pub(crate) const DRIVER_CONFIG: u32 = 0x8000_0001;
const VARIABLE_BOOT: u32 = 0x8000_0002;
const APPLICATION: u32 = 0x8000_0003;
pub(crate) const ACTION: u32 = 0x8000_0007;
pub(crate) const AUTHORITY: u32 = 0x8000_00e0;

const GLOBAL: &str = "61dfe48bca93d211aa0d00e098032b8c";
pub(crate) const SECURITY: &str = "cbb219d73a3d9645a3bcdad00e67656f";
pub(crate) const SHIM: &str = "50ab5d6046e00043abb63dd810dd8b23";
pub(crate) const X509: &str = "a159c0a5e494a74a87b5ab155c2bf072";
pub(crate) const SHA256_IMAGE: &str = "2616c4c14c509240aca941f936934328";
/// Who put the certificates into the databases.
const OWNER: [u8; 16] = [0x77; 16];

/// One event. `digests` are kept apart from `data`, so that either can be forged alone.
#[derive(Clone)]
pub(crate) struct Event {
    pub(crate) pcr: u32,
    pub(crate) kind: u32,
    pub(crate) digests: Vec<(u16, Vec<u8>)>,
    pub(crate) data: Vec<u8>,
}

impl Event {
    /// `logged` stands in the log, `measured` is hashed.
    pub(crate) fn of(pcr: u32, kind: u32, logged: &[u8], measured: &[u8]) -> Self {
        let digests = [SHA256, SHA384].map(|bank| (bank.id(), bank.digest(&[measured]))).to_vec();
        Self { pcr, kind, digests, data: logged.to_vec() }
    }

    pub(crate) fn whole(pcr: u32, kind: u32, data: &[u8]) -> Self {
        Self::of(pcr, kind, data, data)
    }

    pub(crate) fn unmeasured(data: &[u8]) -> Self {
        let digests = [SHA256, SHA384].map(|bank| (bank.id(), vec![0; bank.digest_length()]));
        Self { pcr: 0, kind: NO_ACTION, digests: digests.to_vec(), data: data.to_vec() }
    }
}

/// What is to be forged.
#[derive(Clone)]
pub(crate) struct Machine {
    pub(crate) banks: Vec<(u16, u16)>,
    pub(crate) locality: u8,
    /// All but the Spec ID event: event number n of the log is `events[n - 1]`.
    pub(crate) events: Vec<Event>,
}

pub(crate) fn locality(at: u8) -> Event {
    Event::unmeasured(&[b"StartupLocality\0".as_slice(), &[at]].concat())
}

fn unhex(text: &str) -> Vec<u8> {
    signet_evidence::thumbprint::unhex(text).unwrap()
}

pub(crate) fn variable(vendor: &str, name: &str, data: &[u8]) -> Vec<u8> {
    let name: Vec<u8> = name.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let mut out = unhex(vendor);
    out.extend_from_slice(&(name.len() as u64 / 2).to_le_bytes());
    out.extend_from_slice(&(data.len() as u64).to_le_bytes());
    [out, name, data.to_vec()].concat()
}

pub(crate) fn secure_boot(value: &[u8]) -> Vec<u8> {
    variable(GLOBAL, "SecureBoot", value)
}

/// Bytes with the frame of a certificate; nobody looks further.
fn certificate(filler: u8) -> Vec<u8> {
    [vec![0x30, 0x82, 0x01, 0x00], vec![filler; 256]].concat()
}

pub(crate) fn signature_list(kind: &str, entry: &[u8]) -> Vec<u8> {
    let size = u32::try_from(entry.len() + 16).unwrap();
    let header = [(size + 28).to_le_bytes(), 0_u32.to_le_bytes(), size.to_le_bytes()].concat();
    [unhex(kind), header, OWNER.to_vec(), entry.to_vec()].concat()
}

fn image(name: &str) -> Event {
    let path: Vec<u8> = name.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect();
    let node = u16::try_from(path.len() + 4).unwrap();
    let mut logged = vec![0; 24];
    logged.extend_from_slice(&u64::from(node + 4).to_le_bytes());
    logged.extend_from_slice(&[4, 4]);
    logged.extend_from_slice(&node.to_le_bytes());
    logged.extend_from_slice(&path);
    logged.extend_from_slice(&[0x7f, 0xff, 4, 0]);
    Event::of(4, APPLICATION, &logged, format!("image {name}").as_bytes())
}

pub(crate) fn grub(label: &str, text: &str) -> Event {
    Event::of(8, IPL, format!("{label}{text}\0").as_bytes(), text.as_bytes())
}

impl Machine {
    /// A workstation with shim and GRUB; `secure` is the value of the variable SecureBoot.
    pub(crate) fn workstation(secure: u8, command_line: &str) -> Self {
        let config = |vendor, name, data: &[u8]| {
            Event::whole(7, DRIVER_CONFIG, &variable(vendor, name, data))
        };
        let authority =
            |vendor, name, data: &[u8]| Event::whole(7, AUTHORITY, &variable(vendor, name, data));
        let order = variable(GLOBAL, "BootOrder", &[1, 0, 0, 0]);
        let mut events = vec![
            locality(3),
            Event::whole(0, 8, &[b'1', 0, b'.', 0, b'7', 0, 0, 0]),
            Event::of(0, 0x8000_000a, &[0; 16], b"firmware volume"),
            config(GLOBAL, "SecureBoot", &[secure]),
            config(GLOBAL, "PK", &signature_list(X509, &certificate(1))),
            config(GLOBAL, "KEK", &signature_list(X509, &certificate(2))),
            config(SECURITY, "db", &signature_list(X509, &certificate(3))),
            config(SECURITY, "dbx", &signature_list(SHA256_IMAGE, &[4; 32])),
            Event::whole(7, SEPARATOR, &[0; 4]),
            Event::of(2, 0x8000_0004, &[0; 32], b"option rom"),
            Event::of(1, VARIABLE_BOOT, &order, &[1, 0, 0, 0]),
        ];
        events.extend((0..=6).map(|pcr| Event::whole(pcr, SEPARATOR, &[0; 4])));
        events.extend([
            Event::whole(4, ACTION, b"Calling EFI Application from Boot Option"),
            authority(SECURITY, "db", &[&OWNER[..], &certificate(3)].concat()),
            image("\\EFI\\shimx64.efi"),
            Event::of(14, IPL, b"MokList\0", b"mok"),
            authority(SHIM, "Shim", &certificate(5)),
            image("\\EFI\\grubx64.efi"),
            grub("grub_cmd: ", &format!("linux {command_line}")),
            Event::of(9, IPL, b"/vmlinuz-6.12\0", b"kernel"),
            grub("kernel_cmdline: ", command_line),
            Event::whole(5, ACTION, b"Exit Boot Services Invocation"),
            Event::whole(5, ACTION, b"Exit Boot Services Returned with Success"),
        ]);
        let banks = vec![(SHA256.id(), 32), (SHA384.id(), 48)];
        Self { banks, locality: 3, events }
    }

    pub(crate) fn genuine() -> Self {
        Self::workstation(1, "/vmlinuz-6.12 root=UUID=0b7c ro quiet")
    }

    /// The event of this number of the log.
    pub(crate) fn event(&mut self, number: usize) -> &mut Event {
        &mut self.events[number - 1]
    }

    /// The number of the event that ends in these bytes.
    pub(crate) fn number(&self, tail: &[u8]) -> usize {
        self.events.iter().position(|event| event.data.ends_with(tail)).unwrap() + 1
    }

    /// What the TPM of this machine holds: its events extended, whatever its log says.
    pub(crate) fn pcrs(&self, bank: HashAlgorithm) -> BTreeMap<u32, Vec<u8>> {
        let mut values: BTreeMap<u32, Vec<u8>> =
            (0..=9).chain([14]).map(|pcr| (pcr, vec![0; bank.digest_length()])).collect();
        *values.get_mut(&0).unwrap().last_mut().unwrap() = self.locality;
        for event in self.events.iter().filter(|event| event.kind != NO_ACTION) {
            let (_, digest) = event.digests.iter().find(|(id, _)| *id == bank.id()).unwrap();
            let value = values.get_mut(&event.pcr).unwrap();
            *value = bank.digest(&[value, digest]);
        }
        values
    }

    fn spec_id(&self) -> Vec<u8> {
        let mut data = [b"Spec ID Event03\0".as_slice(), &[0; 4], &[0, 2, 0, 2]].concat();
        data.extend_from_slice(&u32::try_from(self.banks.len()).unwrap().to_le_bytes());
        for (id, length) in &self.banks {
            data.extend_from_slice(&id.to_le_bytes());
            data.extend_from_slice(&length.to_le_bytes());
        }
        data.push(0);
        data
    }

    /// The log in the crypto-agile format.
    pub(crate) fn log(&self) -> Vec<u8> {
        let data = self.spec_id();
        let mut out = [&0_u32.to_le_bytes()[..], &NO_ACTION.to_le_bytes(), &[0; 20]].concat();
        out.extend_from_slice(&u32::try_from(data.len()).unwrap().to_le_bytes());
        out.extend_from_slice(&data);
        for event in &self.events {
            out.extend_from_slice(&self.event_bytes(event));
        }
        out
    }

    fn event_bytes(&self, event: &Event) -> Vec<u8> {
        let count = u32::try_from(event.digests.len()).unwrap();
        let mut out =
            [event.pcr.to_le_bytes(), event.kind.to_le_bytes(), count.to_le_bytes()].concat();
        for (id, digest) in &event.digests {
            out.extend_from_slice(&id.to_le_bytes());
            out.extend_from_slice(digest);
        }
        out.extend_from_slice(&u32::try_from(event.data.len()).unwrap().to_le_bytes());
        out.extend_from_slice(&event.data);
        out
    }

    /// Where the event of this number begins in [`Machine::log`].
    pub(crate) fn offset(&self, number: usize) -> usize {
        32 + self.spec_id().len()
            + self.events[..number - 1]
                .iter()
                .map(|event| self.event_bytes(event).len())
                .sum::<usize>()
    }

    /// The log in the old format, with the digests of SHA-1.
    pub(crate) fn old_log(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for event in &self.events {
            out.extend_from_slice(&event.pcr.to_le_bytes());
            out.extend_from_slice(&event.kind.to_le_bytes());
            out.extend_from_slice(&HashAlgorithm::Sha1.digest(&[&event.data]));
            out.extend_from_slice(&u32::try_from(event.data.len()).unwrap().to_le_bytes());
            out.extend_from_slice(&event.data);
        }
        out
    }
}
