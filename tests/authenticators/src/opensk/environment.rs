//! What OpenSK asks of its board: randomness, clock, button, flash, USB, sensor.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use opensk::api::clock::Clock;
use opensk::api::connection::{HidConnection, RecvStatus, UsbEndpoint};
use opensk::api::crypto::rust_crypto::SoftwareCrypto;
use opensk::api::customization::CustomizationImpl;
use opensk::api::key_store;
use opensk::api::persist::{Persist, PersistIter};
use opensk::api::rng::Rng;
use opensk::api::user_presence::{UserPresence, UserPresenceError, UserPresenceWaitResult};
use opensk::ctap::status_code::{Ctap2StatusCode, CtapResult};
use opensk::env::Env;
use rand_core::{CryptoRng, Error, RngCore};
use signet_test_authenticators::panel::Panel;
use signet_test_authenticators::wire::Wire;

use crate::memory::Memory;
use crate::sensor::Sensor;

/// Randomness of the operating system.
pub(crate) struct SystemRandom;

impl RngCore for SystemRandom {
    fn next_u32(&mut self) -> u32 {
        rand_core::OsRng.next_u32()
    }
    fn next_u64(&mut self) -> u64 {
        rand_core::OsRng.next_u64()
    }
    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        rand_core::OsRng.fill_bytes(bytes);
    }
    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Error> {
        rand_core::OsRng.try_fill_bytes(bytes)
    }
}
impl CryptoRng for SystemRandom {}
impl Rng for SystemRandom {}

/// Monotonic clock.
pub(crate) struct SystemClock;

/// Instant at which a timer elapses; an unset timer has elapsed.
#[derive(Default)]
pub(crate) struct Deadline(Option<Instant>);

impl Clock for SystemClock {
    type Timer = Deadline;
    fn make_timer(&mut self, milliseconds: usize) -> Deadline {
        Deadline(Some(Instant::now() + Duration::from_millis(milliseconds as u64)))
    }
    fn is_elapsed(&mut self, timer: &Deadline) -> bool {
        timer.0.is_none_or(|at| Instant::now() >= at)
    }
}

/// The button.
pub(crate) struct Button {
    panel: Arc<Panel>,
    wire: Arc<Wire>,
}

impl UserPresence for Button {
    fn check_init(&mut self) {
        self.panel.set_waiting(true);
    }

    fn wait_with_timeout(
        &mut self,
        packet: &mut [u8; 64],
        timeout_ms: usize,
    ) -> UserPresenceWaitResult {
        let end = Instant::now() + Duration::from_millis(timeout_ms as u64);
        loop {
            if self.panel.take_denial() {
                return Ok((Err(UserPresenceError::Declined), RecvStatus::Timeout));
            }
            if self.panel.take_touch() {
                return Ok((Ok(()), RecvStatus::Timeout));
            }
            if let Some(report) = self.wire.receive(Duration::from_millis(5)) {
                *packet = report;
                return Ok((
                    Err(UserPresenceError::Timeout),
                    RecvStatus::Received(UsbEndpoint::MainHid),
                ));
            }
            if Instant::now() >= end {
                return Ok((Err(UserPresenceError::Timeout), RecvStatus::Timeout));
            }
        }
    }

    fn check_complete(&mut self) {
        self.panel.set_waiting(false);
    }
}

/// The USB endpoint.
pub(crate) struct Usb(Arc<Wire>);

impl HidConnection for Usb {
    fn send(&mut self, report: &[u8; 64], _: UsbEndpoint) -> CtapResult<()> {
        self.0.send_to_host(report);
        Ok(())
    }
    fn recv(&mut self, buffer: &mut [u8; 64], timeout_ms: usize) -> CtapResult<RecvStatus> {
        Ok(match self.0.receive(Duration::from_millis(timeout_ms as u64)) {
            Some(report) => {
                *buffer = report;
                RecvStatus::Received(UsbEndpoint::MainHid)
            }
            None => RecvStatus::Timeout,
        })
    }
}

/// Debug output of the firmware goes nowhere.
pub(crate) struct Silence;

impl core::fmt::Write for Silence {
    fn write_str(&mut self, _: &str) -> core::fmt::Result {
        Ok(())
    }
}

/// All parts of the board.
pub(crate) struct Board {
    random: SystemRandom,
    clock: SystemClock,
    button: Button,
    usb: Usb,
    sensor: Sensor,
    memory: Rc<RefCell<Memory>>,
    customization: CustomizationImpl,
}

impl Board {
    /// A board with this memory, wire and panel.
    pub(crate) fn new(
        customization: CustomizationImpl,
        memory: Memory,
        wire: &Arc<Wire>,
        panel: &Arc<Panel>,
    ) -> Self {
        let memory = Rc::new(RefCell::new(memory));
        Self {
            random: SystemRandom,
            clock: SystemClock,
            button: Button { panel: Arc::clone(panel), wire: Arc::clone(wire) },
            usb: Usb(Arc::clone(wire)),
            sensor: Sensor::new(Arc::clone(panel), Rc::clone(&memory)),
            memory,
            customization,
        }
    }

    /// The flash, for the factory.
    pub(crate) fn memory(&self) -> &RefCell<Memory> {
        &self.memory
    }
}

impl Persist for Board {
    fn find(&self, key: usize) -> CtapResult<Option<Vec<u8>>> {
        Ok(self.memory.borrow().find(key))
    }
    fn insert(&mut self, key: usize, value: &[u8]) -> CtapResult<()> {
        self.memory
            .borrow_mut()
            .insert(key, value)
            .map_err(|_| Ctap2StatusCode::CTAP2_ERR_VENDOR_HARDWARE_FAILURE)
    }
    fn remove(&mut self, key: usize) -> CtapResult<()> {
        self.memory
            .borrow_mut()
            .remove(key)
            .map_err(|_| Ctap2StatusCode::CTAP2_ERR_VENDOR_HARDWARE_FAILURE)
    }
    fn iter(&self) -> CtapResult<PersistIter<'_>> {
        let slots: Vec<usize> = self.memory.borrow().slots().collect();
        Ok(Box::new(slots.into_iter().map(Ok)))
    }
}

impl key_store::Helper for Board {}

impl Env for Board {
    type Rng = SystemRandom;
    type UserPresence = Button;
    type Persist = Self;
    type KeyStore = Self;
    type Write = Silence;
    type Customization = CustomizationImpl;
    type HidConnection = Usb;
    type Clock = SystemClock;
    type Crypto = SoftwareCrypto;
    type Fingerprint = Sensor;

    fn rng(&mut self) -> &mut SystemRandom {
        &mut self.random
    }
    fn user_presence(&mut self) -> &mut Button {
        &mut self.button
    }
    fn persist(&mut self) -> &mut Self {
        self
    }
    fn key_store(&mut self) -> &mut Self {
        self
    }
    fn clock(&mut self) -> &mut SystemClock {
        &mut self.clock
    }
    fn fingerprint(&mut self) -> &mut Sensor {
        &mut self.sensor
    }
    fn write(&mut self) -> Silence {
        Silence
    }
    fn customization(&self) -> &CustomizationImpl {
        &self.customization
    }
    fn hid_connection(&mut self) -> &mut Usb {
        &mut self.usb
    }
    fn boots_after_soft_reset(&self) -> bool {
        false
    }
    fn firmware_version(&self) -> Option<u64> {
        Some(1)
    }
}
