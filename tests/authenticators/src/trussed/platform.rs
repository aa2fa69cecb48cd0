//! What Trussed asks of its board: randomness, storage, button and light.

use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::thread;
use std::time::{Duration, Instant};

use rand_chacha::ChaCha8Rng;
use signet_test_authenticators::panel::Panel;
use trussed::platform::{Platform, Syscall, UserInterface};
use trussed::types::ui::Status;
use trussed::virt::Store;
use trussed_core::types::consent::Level;
use trussed_core::types::reboot::To;

/// Button and light.
pub(crate) struct Front {
    panel: Arc<Panel>,
    start: Instant,
    status: Status,
}

impl Front {
    /// The front of a key that was just powered.
    pub(crate) fn new(panel: Arc<Panel>) -> Self {
        Self { panel, start: Instant::now(), status: Status::Idle }
    }
}

impl UserInterface for Front {
    fn check_user_presence(&mut self) -> Level {
        if self.panel.take_touch() {
            return Level::Strong;
        }
        // The firmware asks in a loop.
        thread::sleep(Duration::from_millis(2));
        Level::None
    }
    fn set_status(&mut self, status: Status) {
        self.panel.set_waiting(status == Status::WaitingForUserPresence);
        self.status = status;
    }
    fn status(&self) -> Status {
        self.status
    }
    fn uptime(&mut self) -> Duration {
        self.start.elapsed()
    }
    fn reboot(&mut self, _: To) -> ! {
        std::process::exit(3)
    }
    fn wink(&mut self, _: Duration) {}
}

/// All parts of the board.
pub(crate) struct Board<'a> {
    /// Seeded from the operating system.
    pub(crate) random: ChaCha8Rng,
    /// Flash.
    pub(crate) store: Store<'a>,
    /// Button and light.
    pub(crate) front: Front,
}

impl<'a> Platform for Board<'a> {
    type R = ChaCha8Rng;
    type S = Store<'a>;
    type UI = Front;

    fn rng(&mut self) -> &mut ChaCha8Rng {
        &mut self.random
    }
    fn store(&self) -> Store<'a> {
        self.store
    }
    fn user_interface(&mut self) -> &mut Front {
        &mut self.front
    }
}

/// Wakes the service thread when the application made a request.
pub(crate) struct Wake(pub(crate) Sender<()>);

impl Syscall for Wake {
    fn syscall(&mut self) {
        // The service is gone only when the process ends.
        let _ = self.0.send(());
    }
}
