//! A disk of a few megabytes that a test can fill.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;

use crate::postgres::open_to;

pub(crate) struct SmallDisk {
    pub(crate) folder: PathBuf,
    place: tempfile::TempDir,
}

impl SmallDisk {
    /// `None` where this is not allowed.
    pub(crate) fn mount() -> Option<Self> {
        let place = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=96m", "tmpfs"])
            .arg(place.path())
            .output()
            .ok()?;
        open_to(place.path());
        let folder = place.path().join("data");
        mounted.status.success().then(|| Self { folder, place })
    }

    pub(crate) fn fill(&self) {
        let mut file = fs::File::create(self.place.path().join("filler")).unwrap();
        for size in [1 << 20, 4096, 1] {
            while file.write_all(&vec![0; size]).is_ok() {}
        }
    }

    pub(crate) fn make_room(&self) {
        fs::remove_file(self.place.path().join("filler")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.place.path()).status();
    }
}
