//! A certificate in a few lines.

use signet_evidence::CertificateThumbprint;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

use super::outline::{Outline, Section};
use super::rfc3339;

/// Names, times and thumbprint of a DER certificate.
pub(super) fn outline(der: &[u8]) -> Outline {
    let thumbprint = CertificateThumbprint::of_der(der).to_hex();
    let Ok((_, certificate)) = X509Certificate::from_der(der) else {
        let section = Section::default().with("certificate", "cannot be read");
        return section.with("sha256", thumbprint).into();
    };
    Section::default()
        .maybe("subject", some(certificate.subject().to_string()))
        .maybe("names", some(alternative_names(&certificate).join(", ")))
        .maybe("issuer", some(certificate.issuer().to_string()))
        .with("not_before", rfc3339(certificate.validity().not_before.timestamp()))
        .with("not_after", rfc3339(certificate.validity().not_after.timestamp()))
        .with("sha256", thumbprint)
        .into()
}

fn alternative_names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(names)) = certificate.subject_alternative_name() else { return vec![] };
    let name = |name: &GeneralName<'_>| match name {
        GeneralName::URI(text) | GeneralName::DNSName(text) => Some((*text).to_owned()),
        _ => None,
    };
    names.value.general_names.iter().filter_map(name).collect()
}

fn some(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}
