//! Which security keys are plugged in (Linux).

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, fstat, major, minor};

/// HID usage page of FIDO authenticators (CTAP 2.1 §11.2.8.1).
const FIDO_USAGE_PAGE: u32 = 0xF1D0;

/// A hidraw node whose report descriptor says FIDO.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Device node, such as `/dev/hidraw3`.
    pub path: PathBuf,
    /// Name the kernel knows the device by, where it has one.
    pub name: Option<String>,
}

/// Lists the FIDO keys among the hidraw nodes, sorted by path. No node is opened.
///
/// A machine without hidraw has none; devices that vanish while listing are left out.
pub fn discover() -> io::Result<Vec<Found>> {
    discover_in(Path::new("/sys/class/hidraw"), Path::new("/dev"))
}

fn discover_in(class: &Path, devices: &Path) -> io::Result<Vec<Found>> {
    let entries = match fs::read_dir(class) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        found.extend(fido_key(&entry.path(), devices));
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

/// The FIDO key behind an open hidraw node, as the kernel knows it; `None` for every other file.
///
/// What the node was called when it was opened does not matter, and is not needed.
pub fn identify(node: impl AsFd) -> io::Result<Option<Found>> {
    let stat = fstat(node)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::CharacterDevice {
        return Ok(None);
    }
    let (major, minor) = (major(stat.st_rdev), minor(stat.st_rdev));
    identify_in(&Path::new("/sys/dev/char").join(format!("{major}:{minor}")), Path::new("/dev"))
}

fn identify_in(device: &Path, devices: &Path) -> io::Result<Option<Found>> {
    let entry = match fs::canonicalize(device) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        entry => entry?,
    };
    let is_hidraw = fs::canonicalize(entry.join("subsystem"))
        .is_ok_and(|subsystem| subsystem.file_name().is_some_and(|name| name == "hidraw"));
    Ok(if is_hidraw { fido_key(&entry, devices) } else { None })
}

/// The key that this entry of the class hidraw stands for, where its report descriptor says FIDO.
fn fido_key(entry: &Path, devices: &Path) -> Option<Found> {
    let device = entry.join("device");
    let descriptor = fs::read(device.join("report_descriptor")).ok()?;
    let uevent = fs::read_to_string(device.join("uevent")).unwrap_or_default();
    let path = devices.join(entry.file_name()?);
    is_fido(&descriptor).then(|| Found { path, name: hid_name(&uevent) })
}

/// Whether a HID report descriptor sets the FIDO usage page (HID 1.11 §6.2.2).
fn is_fido(descriptor: &[u8]) -> bool {
    const LONG_ITEM: u8 = 0xFE;
    const USAGE_PAGE: u8 = 0x04;
    let mut rest = descriptor;
    while let Some((&prefix, tail)) = rest.split_first() {
        if prefix == LONG_ITEM {
            let Some((&length, _)) = tail.split_first() else { return false };
            let Some(next) = tail.get(2 + usize::from(length)..) else { return false };
            rest = next;
            continue;
        }
        let size = match prefix & 0x03 {
            3 => 4,
            size => usize::from(size),
        };
        let Some((data, next)) = tail.split_at_checked(size) else { return false };
        let value = data.iter().rev().fold(0u32, |value, byte| (value << 8) | u32::from(*byte));
        if prefix & 0xFC == USAGE_PAGE && value == FIDO_USAGE_PAGE {
            return true;
        }
        rest = next;
    }
    false
}

fn hid_name(uevent: &str) -> Option<String> {
    uevent.lines().find_map(|line| line.strip_prefix("HID_NAME=")).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Report descriptor of CTAP 2.1 §11.2.8.1.
    const FIDO: [u8; 34] = [
        0x06, 0xd0, 0xf1, 0x09, 0x01, 0xa1, 0x01, 0x09, 0x20, 0x15, 0x00, 0x26, 0xff, 0x00, 0x75,
        0x08, 0x95, 0x40, 0x81, 0x02, 0x09, 0x21, 0x15, 0x00, 0x26, 0xff, 0x00, 0x75, 0x08, 0x95,
        0x40, 0x91, 0x02, 0xc0,
    ];
    /// A boot keyboard's first items.
    const KEYBOARD: [u8; 8] = [0x05, 0x01, 0x09, 0x06, 0xa1, 0x01, 0x05, 0x07];

    #[test]
    fn finds_the_key_among_other_devices() {
        let root = tempfile::tempdir().unwrap();
        for (node, descriptor) in
            [("hidraw0", &KEYBOARD[..]), ("hidraw1", &FIDO[..]), ("hidraw2", &FIDO[..5])]
        {
            let device = root.path().join(node).join("device");
            fs::create_dir_all(&device).unwrap();
            fs::write(device.join("report_descriptor"), descriptor).unwrap();
            fs::write(device.join("uevent"), "HID_ID=0003\nHID_NAME=Maker Key\n").unwrap();
        }
        fs::create_dir_all(root.path().join("hidraw9")).unwrap();
        let found = discover_in(root.path(), Path::new("/dev")).unwrap();
        let paths: Vec<_> = found.iter().map(|f| f.path.to_str().unwrap()).collect();
        assert_eq!(paths, ["/dev/hidraw1", "/dev/hidraw2"]);
        assert_eq!(found[0].name.as_deref(), Some("Maker Key"));
    }

    #[test]
    fn a_device_number_leads_to_the_key_and_no_other_device_is_one() {
        use std::os::unix::fs::symlink;
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str| root.path().join(path);
        for (class, descriptor) in
            [("hidraw", &FIDO[..]), ("hidraw-keyboard", &KEYBOARD), ("input", &FIDO)]
        {
            let entry = at(class).join("hidraw7");
            fs::create_dir_all(entry.join("device")).unwrap();
            fs::write(entry.join("device/report_descriptor"), descriptor).unwrap();
            let subsystem = at("class").join(class.trim_end_matches("-keyboard"));
            fs::create_dir_all(&subsystem).unwrap();
            symlink(&subsystem, entry.join("subsystem")).unwrap();
            symlink(&entry, at(&format!("{class}-number"))).unwrap();
        }
        let found = |number: &str| identify_in(&at(number), Path::new("/dev")).unwrap();
        assert_eq!(found("hidraw-number"), Some(Found { path: "/dev/hidraw7".into(), name: None }));
        for other in ["hidraw-keyboard-number", "input-number", "gone"] {
            assert_eq!(found(other), None, "{other}");
        }
        let null = fs::File::open("/dev/null").unwrap();
        assert_eq!(identify(&null).unwrap(), None);
        assert_eq!(identify(fs::File::open("Cargo.toml").unwrap()).unwrap(), None);
    }

    #[test]
    fn a_machine_without_hidraw_has_no_keys() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(discover_in(&root.path().join("none"), Path::new("/dev")).unwrap(), []);
    }

    proptest::proptest! {
        #[test]
        fn any_descriptor_is_read_without_panic(bytes: Vec<u8>) {
            is_fido(&bytes);
        }
    }
}
