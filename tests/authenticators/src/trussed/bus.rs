//! A USB bus whose cable is two queues: the firmware's own CTAPHID class runs on it unchanged.

use std::sync::{Arc, Mutex, PoisonError};

use signet_test_authenticators::wire::Wire;
use usb_device::bus::{PollResult, UsbBus};
use usb_device::endpoint::{EndpointAddress, EndpointType};
use usb_device::{UsbDirection, UsbError};

/// The bus. Endpoint 1 carries reports; endpoint 0 (enumeration) is never used.
pub(crate) struct LoopbackBus {
    wire: Arc<Wire>,
    next_endpoint: u8,
    report_written: Mutex<bool>,
}

impl LoopbackBus {
    /// A bus over this wire.
    pub(crate) fn new(wire: Arc<Wire>) -> Self {
        Self { wire, next_endpoint: 1, report_written: Mutex::new(false) }
    }
}

impl UsbBus for LoopbackBus {
    fn alloc_ep(
        &mut self,
        direction: UsbDirection,
        address: Option<EndpointAddress>,
        _: EndpointType,
        _: u16,
        _: u8,
    ) -> usb_device::Result<EndpointAddress> {
        if let Some(address) = address {
            return Ok(address);
        }
        let address = EndpointAddress::from_parts(usize::from(self.next_endpoint), direction);
        if direction == UsbDirection::In {
            self.next_endpoint += 1;
        }
        Ok(address)
    }

    fn write(&self, endpoint: EndpointAddress, bytes: &[u8]) -> usb_device::Result<usize> {
        if endpoint.index() != 0 {
            let mut report = [0u8; 64];
            report.get_mut(..bytes.len()).ok_or(UsbError::BufferOverflow)?.copy_from_slice(bytes);
            self.wire.send_to_host(&report);
            *self.report_written.lock().unwrap_or_else(PoisonError::into_inner) = true;
        }
        Ok(bytes.len())
    }

    fn read(&self, endpoint: EndpointAddress, buffer: &mut [u8]) -> usb_device::Result<usize> {
        if endpoint.index() == 0 {
            return Err(UsbError::WouldBlock);
        }
        let report = self.wire.receive(std::time::Duration::ZERO).ok_or(UsbError::WouldBlock)?;
        buffer.get_mut(..64).ok_or(UsbError::BufferOverflow)?.copy_from_slice(&report);
        Ok(64)
    }

    fn poll(&self) -> PollResult {
        let mut written = self.report_written.lock().unwrap_or_else(PoisonError::into_inner);
        let (out, sent) = (self.wire.has_report(), std::mem::take(&mut *written));
        if out || sent {
            PollResult::Data {
                ep_out: u16::from(out) << 1,
                ep_in_complete: u16::from(sent) << 1,
                ep_setup: 0,
            }
        } else {
            PollResult::None
        }
    }

    fn enable(&mut self) {}
    fn reset(&self) {}
    fn set_device_address(&self, _: u8) {}
    fn set_stalled(&self, _: EndpointAddress, _: bool) {}
    fn is_stalled(&self, _: EndpointAddress) -> bool {
        false
    }
    fn suspend(&self) {}
    fn resume(&self) {}
}
