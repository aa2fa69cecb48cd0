//! How the daemon and its TPM are.

use super::Service;
use crate::bus::arguments;
use crate::bus::door::Admitted;
use crate::bus::machine::{tpm_health, tpm_status};
use crate::bus::request::Results;
use crate::failure::Failure;
use crate::state::Enrolment;

impl Service {
    /// What `Status` tells this caller.
    pub(super) async fn describe(&self, caller: &Admitted) -> Results {
        let properties = self.patiently(self.tpm.in_background().properties()).await;
        let (reader, platform_keys) = self.platform.status().await;
        let queue_length = u32::try_from(self.desk.len()).unwrap_or(u32::MAX);
        let mut results = match properties {
            Ok(properties) => {
                let mut results = tpm_status(properties);
                let read = self.certified.get_or_try_init(|| self.certified_kinds());
                if let Ok(kinds) = self.patiently(read).await {
                    results.insert("ek_certificates", kinds.clone().into());
                }
                results
            }
            Err(failure) => {
                let words = crate::bus::refusal::message(&failure);
                Results::from([("tpm", words.into())])
            }
        };
        results.extend(tpm_health(self.tpm.health()));
        results.extend(Results::from([
            ("enrolled", self.enrolled().into()),
            ("device_id", self.device_id().into()),
            ("operator", self.operator().into()),
            ("authority", self.authority().into()),
            ("queue_length", queue_length.into()),
            ("agent", self.desk.agents().has_any(caller.uid).into()),
            ("authorisation", self.door.authorisation().into()),
            ("boot_log", self.desk.boot_log().status().into()),
            ("fingerprint_reader", reader.into()),
            ("platform_keys", platform_keys.into()),
        ]));
        let leaf = |enrolment: &Enrolment| enrolment.ak_chain.first().map(|der| der.0.clone());
        if let Some(certificate) = self.enrolled_value(leaf) {
            results.insert("ak_certificate", certificate.into());
        }
        results
    }

    /// An answer of the TPM, for as long as a caller can be left waiting.
    pub(super) async fn patiently<T>(
        &self,
        answer: impl Future<Output = Result<T, crate::tpm::TpmError>>,
    ) -> Result<T, Failure> {
        let answer = tokio::time::timeout(self.tpm_patience, answer).await;
        Ok(answer.map_err(|_| Failure::TpmSlow)??)
    }

    async fn certified_kinds(&self) -> Result<Vec<String>, crate::tpm::TpmError> {
        let found = self.tpm.in_background().endorsement_certificates().await?;
        let certified = found.into_iter().filter(|(_, certificate)| certificate.is_some());
        Ok(certified.map(|(kind, _)| arguments::kind_name(kind).to_owned()).collect())
    }
}
