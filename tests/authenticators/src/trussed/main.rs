//! `trussed-key`: the Nitrokey 3 / Solo 2 firmware (`fido-authenticator` on Trussed) as a process.

mod bus;
mod platform;
mod touch_only;

use std::path::Path;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use clap::Parser;
use ctaphid_dispatch::{Channel, DEFAULT_MESSAGE_SIZE, Dispatch};
use fido_authenticator::{Authenticator, Config, Conforming, FirmwareVersion};
use littlefs2::path;
use rand_core::SeedableRng;
use ref_swap::OptionRefSwap;
use signet_test_authenticators::rig::{Arguments, Rig};
use signet_test_authenticators::scalar;
use trussed::ClientImplementation;
use trussed::backend::BackendId;
use trussed::pipe::{ServiceEndpoint, TrussedChannel};
use trussed::service::Service;
use trussed::store::Store as _;
use trussed::types::CoreContext;
use trussed::virt::{StorageConfig, Store, StoreConfig};
use trussed_core::InterruptFlag;
use trussed_staging::virt::{BackendIds, Dispatcher};
use usb_device::bus::UsbBusAllocator;
use usb_device::device::{UsbDeviceBuilder, UsbVidPid};
use usbd_ctaphid::CtapHid;
use usbd_ctaphid::types::Status;

use crate::bus::LoopbackBus;
use crate::platform::{Board, Front, Wake};
use crate::touch_only::Filter;

/// How long the firmware waits for a touch.
const TOUCH_TIMEOUT_MS: u32 = 30_000;
/// Pause of the firmware's polling loops.
const IDLE: Duration = Duration::from_micros(500);

static INTERRUPT: InterruptFlag = InterruptFlag::new();
static CURRENT_REQUEST: OptionRefSwap<'static, InterruptFlag> = OptionRefSwap::new(None);
static BACKENDS: &[BackendId<BackendIds>] =
    &[BackendId::Custom(BackendIds::StagingBackend), BackendId::Core];
static CHANNEL: Channel<DEFAULT_MESSAGE_SIZE> = Channel::new();

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let rig = Rig::open(&arguments).context("sockets")?;
    store_config(arguments.state.as_deref())?.with_store(|store| {
        provision(store, &arguments).and_then(|()| run(store, &rig, arguments.touch_only))
    })
}

fn store_config(folder: Option<&Path>) -> anyhow::Result<StoreConfig<'static>> {
    let Some(folder) = folder else {
        return Ok(StoreConfig::ram());
    };
    std::fs::create_dir_all(folder).context("state folder")?;
    Ok(StoreConfig {
        internal: StorageConfig::filesystem(folder.join("internal")),
        external: StorageConfig::filesystem(folder.join("external")),
        volatile: StorageConfig::ram(),
    })
}

/// What the factory does: attestation certificate (which carries the AAGUID) and key.
fn provision(store: Store<'_>, arguments: &Arguments) -> anyhow::Result<()> {
    let certificate =
        std::fs::read(&arguments.attestation_cert).context("attestation certificate")?;
    let key = std::fs::read(&arguments.attestation_key).context("attestation key")?;
    let scalar = scalar(&key).context("attestation key is not a P-256 key in PKCS#8 DER")?;
    // Trussed's serialised key: flags (sensitive), kind (P-256), then the scalar.
    let mut wrapped = vec![0x00, 0x02, 0x00, 0x05];
    wrapped.extend_from_slice(&scalar);
    let flash = |error| anyhow!("flash refused the attestation files: {error:?}");
    for (folder, file, bytes) in [
        (path!("fido/x5c"), path!("fido/x5c/00"), certificate),
        (path!("fido/sec"), path!("fido/sec/00"), wrapped),
    ] {
        store.ifs().create_dir_all(folder).map_err(flash)?;
        store.ifs().write(file, &bytes).map_err(flash)?;
    }
    Ok(())
}

fn configuration() -> Config {
    Config {
        max_msg_size: DEFAULT_MESSAGE_SIZE,
        skip_up_timeout: None,
        max_resident_credential_count: Some(25),
        large_blobs: None,
        nfc_transport: false,
        ccid_transport: false,
        firmware_version: Some(FirmwareVersion::new(1)),
        credential_id_version: None,
        long_touch_for_reset: false,
        fido2_up_timeout: Some(TOUCH_TIMEOUT_MS),
    }
}

/// Trussed service, authenticator application and USB class, each on its own thread.
fn run(store: Store<'_>, rig: &Rig, touch_only: bool) -> anyhow::Result<()> {
    let board = Board {
        random: rand_chacha::ChaCha8Rng::from_rng(rand_core::OsRng).context("randomness")?,
        store,
        front: Front::new(Arc::clone(&rig.panel)),
    };
    let pipe = TrussedChannel::new();
    let (requester, responder) = pipe.split().context("trussed pipe")?;
    let (wake, woken) = mpsc::channel();
    let client: ClientImplementation<'_, _, Dispatcher> =
        ClientImplementation::new(requester, Wake(wake), Some(&INTERRUPT));
    let name = "fido".try_into().map_err(|_| anyhow!("client name"))?;
    let mut service = Service::with_dispatch(board, Dispatcher::default());
    let context = CoreContext::with_interrupt(name, Some(&INTERRUPT));
    let mut endpoints = vec![ServiceEndpoint::new(responder, context, BACKENDS)];
    thread::scope(|scope| {
        scope.spawn(move || {
            for () in &woken {
                service.process(&mut endpoints);
            }
        });
        let firmware = Authenticator::new(client, Conforming {}, configuration());
        let mut authenticator = Filter { firmware, touch_only };
        let (requests, responses) = CHANNEL.split().context("ctaphid pipe")?;
        scope.spawn(move || {
            let mut dispatch: Dispatch<'_, 'static, DEFAULT_MESSAGE_SIZE> =
                Dispatch::with_interrupt(responses, Some(&CURRENT_REQUEST));
            loop {
                dispatch.poll(&mut [&mut authenticator]);
                thread::sleep(IDLE);
            }
        });
        serve_usb(rig, requests)
    })
}

type Requester = ctaphid_dispatch::Requester<'static, DEFAULT_MESSAGE_SIZE>;

fn serve_usb(rig: &Rig, requests: Requester) -> anyhow::Result<()> {
    let bus = UsbBusAllocator::new(LoopbackBus::new(Arc::clone(&rig.wire)));
    let mut hid: CtapHid<'_, '_, 'static, LoopbackBus, DEFAULT_MESSAGE_SIZE> =
        CtapHid::with_interrupt(&bus, requests, Some(&CURRENT_REQUEST), 0)
            .implements_ctap1()
            .implements_ctap2()
            .implements_wink();
    let mut device = UsbDeviceBuilder::new(&bus, UsbVidPid(0x20a0, 0x42b2)).build();
    let start = Instant::now();
    let mut next_keepalive: Option<Instant> = None;
    let due = |status| match status {
        Status::ReceivedData(delay) => Some(Instant::now() + Duration::from_millis(delay.0.into())),
        Status::Idle => None,
    };
    rig.announce()?;
    loop {
        hid.check_timeout(start.elapsed().as_millis() as u32);
        hid.check_for_app_response();
        let busy = device.poll(&mut [&mut hid]);
        match next_keepalive {
            None => next_keepalive = due(hid.did_start_processing()),
            Some(at) if Instant::now() >= at => {
                next_keepalive = due(hid.send_keepalive(rig.panel.is_waiting()));
            }
            Some(_) => {}
        }
        if !busy {
            thread::sleep(IDLE);
        }
    }
}
