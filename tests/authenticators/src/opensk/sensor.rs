//! A fingerprint sensor whose images are names that arrive over the control socket.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use opensk::api::fingerprint::{
    Ctap2EnrollFeedback, Fingerprint, FingerprintCheckError, FingerprintKind,
};
use opensk::ctap::status_code::{Ctap2StatusCode, CtapResult};
use signet_test_authenticators::panel::{Panel, Press};

use crate::memory::Memory;

const SAMPLES: usize = 4;
/// Fingers the sensor has room for.
pub(crate) const ROOM: usize = 5;
const PATIENCE: Duration = Duration::from_secs(10);

/// The sensor; templates live in the key's memory.
pub(crate) struct Sensor {
    panel: Arc<Panel>,
    memory: Rc<RefCell<Memory>>,
    enrolling: Option<Enrolling>,
}

struct Enrolling {
    template: u32,
    finger: Option<String>,
    missing: usize,
}

impl Sensor {
    /// A sensor over the key's memory.
    pub(crate) fn new(panel: Arc<Panel>, memory: Rc<RefCell<Memory>>) -> Self {
        Self { panel, memory, enrolling: None }
    }

    fn knows(&self, finger: &str) -> bool {
        self.memory.borrow().fingers().values().any(|known| known == finger)
    }

    fn judge(&mut self, press: Option<Press>) -> CtapResult<(Ctap2EnrollFeedback, usize, u32)> {
        let fresh = match &press {
            Some(Press::Finger(name)) => !self.knows(name),
            _ => true,
        };
        let enrolling =
            self.enrolling.as_mut().ok_or(Ctap2StatusCode::CTAP2_ERR_VENDOR_INTERNAL_ERROR)?;
        let feedback = match press {
            None => Ctap2EnrollFeedback::NoUserActivity,
            Some(Press::Dirty) => Ctap2EnrollFeedback::FpPoorQuality,
            Some(Press::Finger(_)) if !fresh => Ctap2EnrollFeedback::FpExists,
            Some(Press::Finger(name)) => match &enrolling.finger {
                Some(first) if *first != name => Ctap2EnrollFeedback::FpMergeFailure,
                _ => {
                    enrolling.finger = Some(name);
                    enrolling.missing -= 1;
                    Ctap2EnrollFeedback::FpGood
                }
            },
        };
        Ok((feedback, enrolling.missing, enrolling.template))
    }
}

impl Fingerprint for Sensor {
    fn prepare_enrollment(&mut self) -> CtapResult<()> {
        // The firmware would notice only after the last sample.
        if self.memory.borrow().fingers().len() >= ROOM {
            return Err(Ctap2StatusCode::CTAP2_ERR_FP_DATABASE_FULL);
        }
        let template = self.memory.borrow().fingers().keys().last().map_or(1, |last| last + 1);
        self.enrolling = Some(Enrolling { template, finger: None, missing: SAMPLES });
        Ok(())
    }

    fn capture_sample(
        &mut self,
        timeout_ms: Option<usize>,
    ) -> CtapResult<(Ctap2EnrollFeedback, usize, Option<Vec<u8>>)> {
        let patience = timeout_ms.map_or(PATIENCE, |ms| Duration::from_millis(ms as u64));
        self.panel.set_waiting(true);
        let press = self.panel.take_press(patience);
        self.panel.set_waiting(false);
        let (feedback, missing, template) = self.judge(press)?;
        if missing == 0
            && let Some(Enrolling { finger: Some(finger), .. }) = self.enrolling.take()
        {
            self.memory
                .borrow_mut()
                .insert_finger(template, &finger)
                .map_err(|_| Ctap2StatusCode::CTAP2_ERR_VENDOR_HARDWARE_FAILURE)?;
        }
        // The id must come with the first sample, or the firmware hands out one id and stores another.
        Ok((feedback, missing, Some(template_id(template))))
    }

    fn cancel_enrollment(&mut self) -> CtapResult<()> {
        self.enrolling = None;
        Ok(())
    }

    fn remove_enrollment(&mut self, id: &[u8]) -> CtapResult<()> {
        let id = id.first_chunk().ok_or(Ctap2StatusCode::CTAP2_ERR_INVALID_OPTION)?;
        self.memory
            .borrow_mut()
            .remove_finger(u32::from_be_bytes(*id))
            .map_err(|_| Ctap2StatusCode::CTAP2_ERR_VENDOR_HARDWARE_FAILURE)
    }

    fn check_fingerprint_init(&mut self) -> CtapResult<()> {
        self.panel.set_waiting(true);
        Ok(())
    }

    fn check_fingerprint(&mut self, timeout_ms: usize) -> Result<(), FingerprintCheckError> {
        match self.panel.take_press(Duration::from_millis(timeout_ms as u64)) {
            None => Err(FingerprintCheckError::Timeout),
            Some(Press::Finger(name)) if self.knows(&name) => Ok(()),
            Some(_) => Err(FingerprintCheckError::NoMatch),
        }
    }

    fn check_fingerprint_complete(&mut self) -> CtapResult<()> {
        self.panel.set_waiting(false);
        Ok(())
    }

    fn fingerprint_kind(&self) -> FingerprintKind {
        FingerprintKind::Touch
    }

    fn max_capture_samples_required_for_enroll(&self) -> usize {
        SAMPLES
    }
}

/// The id under which the firmware files a template.
pub(crate) fn template_id(template: u32) -> Vec<u8> {
    template.to_be_bytes().to_vec()
}
