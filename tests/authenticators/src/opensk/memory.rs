//! The key's flash: a map of small values, written to a file on every change.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use anyhow::{Context, ensure};

/// Slots from here on belong to the sensor, not to the firmware.
const SENSOR_SLOTS: u32 = 0x8000_0000;

/// Values by slot, and the file behind them.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    slots: BTreeMap<u32, Vec<u8>>,
    file: Option<PathBuf>,
}

impl Memory {
    /// Reads the memory from `file`, or starts empty.
    pub(crate) fn open(file: Option<PathBuf>) -> anyhow::Result<Self> {
        let mut memory = Self { slots: BTreeMap::new(), file };
        let bytes = match memory.file.as_deref().map(std::fs::read) {
            None => return Ok(memory),
            Some(Err(error)) if error.kind() == io::ErrorKind::NotFound => return Ok(memory),
            Some(read) => read.context("state file")?,
        };
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let (slot, tail) = rest.split_first_chunk::<4>().context("state file is cut")?;
            let (length, tail) = tail.split_first_chunk::<4>().context("state file is cut")?;
            let length = u32::from_le_bytes(*length) as usize;
            ensure!(length <= tail.len(), "state file is cut");
            let (value, tail) = tail.split_at(length);
            memory.slots.insert(u32::from_le_bytes(*slot), value.to_vec());
            rest = tail;
        }
        Ok(memory)
    }

    /// The firmware's value in `slot`.
    pub(crate) fn find(&self, slot: usize) -> Option<Vec<u8>> {
        self.slots.get(&(slot as u32)).cloned()
    }

    /// Writes the firmware's `slot`.
    pub(crate) fn insert(&mut self, slot: usize, value: &[u8]) -> io::Result<()> {
        self.slots.insert(slot as u32, value.to_vec());
        self.save()
    }

    /// Erases the firmware's `slot`.
    pub(crate) fn remove(&mut self, slot: usize) -> io::Result<()> {
        self.slots.remove(&(slot as u32));
        self.save()
    }

    /// The firmware's slots in use.
    pub(crate) fn slots(&self) -> impl Iterator<Item = usize> + '_ {
        self.slots.keys().filter(|slot| **slot < SENSOR_SLOTS).map(|slot| *slot as usize)
    }

    /// Fingers the sensor knows, by template number.
    pub(crate) fn fingers(&self) -> BTreeMap<u32, String> {
        self.slots
            .range(SENSOR_SLOTS..)
            .map(|(slot, name)| (slot - SENSOR_SLOTS, String::from_utf8_lossy(name).into_owned()))
            .collect()
    }

    /// Notes a finger under a template number.
    pub(crate) fn insert_finger(&mut self, template: u32, name: &str) -> io::Result<()> {
        self.slots.insert(SENSOR_SLOTS + template, name.as_bytes().to_vec());
        self.save()
    }

    /// Forgets a template.
    pub(crate) fn remove_finger(&mut self, template: u32) -> io::Result<()> {
        self.slots.remove(&(SENSOR_SLOTS + template));
        self.save()
    }

    fn save(&self) -> io::Result<()> {
        let Some(file) = &self.file else {
            return Ok(());
        };
        let mut bytes = Vec::new();
        for (slot, value) in &self.slots {
            bytes.extend_from_slice(&slot.to_le_bytes());
            bytes.extend_from_slice(&(value.len() as u32).to_le_bytes());
            bytes.extend_from_slice(value);
        }
        // Rename, so that a kill in the middle of a write loses nothing.
        let fresh = file.with_extension("fresh");
        std::fs::write(&fresh, bytes)?;
        std::fs::rename(&fresh, file)
    }
}
