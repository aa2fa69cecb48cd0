//! Evidence of the software machine, part by part, each edited before it is signed.

use signet_evidence::binding::{
    assertion_challenge, platform_message, platform_registration_challenge, qualifying_data,
    registration_challenge, sha256,
};
use signet_evidence::cbor::{self, Value};
use signet_evidence::header::SignedAttest;
use signet_evidence::tpm::{
    Attested, CertifyInfo, ClockInfo, HashAlgorithm, Name, PcrSelection, PcrValues, QuoteInfo,
    TpmsAttest, TpmtPublic, pcr_digest,
};
use signet_evidence::webauthn::{Ceremony, ClientData};
use signet_evidence::{
    Action, CertificateChain, CertificateThumbprint, DeviceId, FidoAssertion, FidoRegistration,
    FingerFacts, KeyThumbprint, ObservedVerification, PlatformAssertion, PlatformKeyId,
    PlatformRegistration, Purpose, Statement, TpmEvidence, UnixTime,
};
use signet_verifier::challenge::{ChallengeContext, ChallengeKey};

use super::platform::{attestation_key, finger_key, pin_key, tls_key};
use super::{Base, Case, Edit, Map, Part, SoftwareKey, blank, map};
use crate::attester::{Fault, PCRS};
use crate::fixture::{Fixture, Kind};
use crate::platform_keys::public_area;
use crate::recorder::{NOW, ORIGIN, action};
use crate::world::World;

const TYPE: &str = "application/eat+cwt";

/// Makes evidence with the world's keys in software.
pub struct Forger<'a> {
    pub(super) world: &'a World,
    challenge_key: ChallengeKey,
    device: DeviceId,
    tls: SoftwareKey,
    ak: SoftwareKey,
    platform: SoftwareKey,
    release: SoftwareKey,
}

/// The parts of one piece of evidence, on their way.
struct Draft<'e> {
    edits: &'e [Edit],
    base: Base,
    peer: &'e str,
    connection: &'e str,
}

impl Draft<'_> {
    /// Applies the edits that `choose` picks to `subject`.
    fn edit<T: ?Sized>(&self, subject: &mut T, choose: impl Fn(&Edit) -> Option<fn(&mut T)>) {
        self.edits.iter().filter_map(choose).for_each(|edit| edit(subject));
    }

    /// The same for the map that `bytes` encode.
    fn edit_map(
        &self,
        bytes: Vec<u8>,
        choose: impl Fn(&Edit) -> Option<fn(&mut Map)>,
    ) -> Result<Vec<u8>, Fault> {
        let mut members = map::decode(&bytes)?;
        self.edit(&mut members, choose);
        Ok(map::encode(members))
    }

    fn signer(&self, part: Part, usual: &'static str) -> &'static str {
        let by = self.edits.iter().find_map(|edit| match edit {
            Edit::By(found, role) if *found == part => Some(*role),
            _ => None,
        });
        by.unwrap_or(usual)
    }
}

/// Picks one kind of edit.
macro_rules! pick {
    ($kind:ident) => {
        |edit| if let Edit::$kind(edit) = edit { Some(*edit) } else { None }
    };
}

impl<'a> Forger<'a> {
    /// A forger in this world.
    ///
    /// # Errors
    /// [`Fault`] where the world's keys are not usable.
    pub fn new(world: &'a World) -> Result<Self, Fault> {
        let key = |role| SoftwareKey::of(&world.software, role);
        Ok(Self {
            world,
            challenge_key: world.challenge_key()?,
            device: DeviceId::from_bytes(&world.device.0).ok_or("device id")?,
            tls: key("tls")?,
            ak: key("ak")?,
            platform: key("platform")?,
            release: key("release")?,
        })
    }

    /// The fixture of one case.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn fixture(&self, case: &Case) -> Result<Fixture, Fault> {
        let mut fixture = blank(case.code, case.name, case.spec, case.comment);
        if matches!(case.base, Base::NewKey | Base::NewPin | Base::NewFinger) {
            fixture.kind = Kind::Registration;
        }
        for edit in case.edits {
            match edit {
                Edit::Peer(name) | Edit::Connection(name) => fixture.peer = Some((*name).into()),
                Edit::With(change) => fixture.with.push(*change),
                Edit::Later(seconds) => fixture.now = NOW + seconds,
                _ => {}
            }
        }
        fixture.bytes = self.evidence(case.base, case.edits, &[case.code, case.name].concat())?;
        Ok(fixture)
    }

    /// Evidence with `edits`; `nonce` names the random part of its challenge.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn evidence(&self, base: Base, edits: &[Edit], nonce: &str) -> Result<Vec<u8>, Fault> {
        let named = |choose: fn(&Edit) -> Option<&'static str>| edits.iter().find_map(choose);
        let peer = named(|edit| match edit {
            Edit::Peer(name) => Some(*name),
            _ => None,
        });
        let peer = peer.unwrap_or("software");
        let connection = named(|edit| match edit {
            Edit::Connection(name) => Some(*name),
            _ => None,
        });
        let draft = Draft { edits, base, peer, connection: connection.unwrap_or(peer) };
        let statement = self.statement(&draft, nonce)?;
        let assertion = self.assertion(&draft, &statement)?;
        let registration = self.registration(&draft, &statement)?;
        let data = qualifying_data(
            &statement,
            assertion.as_ref().map_or(&[], |(_, bytes)| bytes),
            registration.as_ref().map(|(_, bytes)| bytes.as_slice()),
        );
        let tpm = self.tpm(&draft, &data)?;
        self.seal(&draft, &statement, [assertion, registration].into_iter().flatten(), tpm)
    }

    fn peer(&self, name: &str) -> Result<&[u8], Fault> {
        Ok(&self.world.peers.get(name).ok_or("no such peer")?.0)
    }

    fn statement(&self, draft: &Draft<'_>, nonce: &str) -> Result<Vec<u8>, Fault> {
        let purpose = match draft.base {
            Base::Session | Base::Pin | Base::Finger => Purpose::Session,
            Base::Renewal => Purpose::Renew,
            Base::Action => Purpose::Action,
            Base::Workload => Purpose::Workload,
            Base::Machine => Purpose::EnrolDevice,
            Base::NewKey | Base::NewPin | Base::NewFinger => Purpose::EnrolKey,
        };
        let person = !matches!(purpose, Purpose::Workload | Purpose::EnrolDevice);
        let finger = matches!(draft.base, Base::Finger | Base::NewFinger);
        let facts = FingerFacts {
            driver: self.world.driver.clone(),
            fingers: self.world.fingers.0.as_slice().try_into()?,
        };
        let mut statement = Statement {
            challenge: Vec::new(),
            audience: self.world.audience.clone(),
            issued_at: UnixTime(NOW),
            confirmation: KeyThumbprint::of_uncompressed_point(&self.tls.point()).ok_or("point")?,
            device: self.device.clone(),
            subject: person.then(|| self.world.operator.clone()),
            scope: None,
            purpose,
            acr: None,
            action: if purpose == Purpose::Action { Some(action()?) } else { None },
            session: if purpose == Purpose::Renew { Some(self.world.session_id()?) } else { None },
            host_facts: finger.then(|| facts.into()),
        };
        draft.edit(&mut statement, pick!(Statement));
        let context = ChallengeContext {
            peer: CertificateThumbprint::of_der(self.peer(draft.connection)?),
            purpose: statement.purpose,
            action: statement.action.as_ref().map(Action::as_bytes),
            session: statement.session,
        };
        let mut random = [0; 16];
        random.copy_from_slice(&sha256(nonce.as_bytes())[..16]);
        statement.challenge = self.challenge_key.issue(&context, UnixTime(NOW + 120), random);
        let encoded = statement.encode()?;
        draft.edit(&mut statement.challenge, pick!(Challenge));
        let mut claims = map::decode(&encoded)?;
        map::set(&mut claims, 10, Value::Bytes(statement.challenge));
        draft.edit(&mut claims, pick!(Claims));
        let mut payload = map::encode(claims);
        draft.edit(&mut payload, pick!(Payload));
        Ok(payload)
    }

    /// Header label and content of the assertion.
    fn assertion(
        &self,
        draft: &Draft<'_>,
        statement: &[u8],
    ) -> Result<Option<(i64, Vec<u8>)>, Fault> {
        if draft.edits.iter().any(|edit| matches!(edit, Edit::NoAssertion)) {
            return Ok(None);
        }
        let (label, encoded) = match draft.base {
            Base::Session | Base::Action => (-70101, self.touch(draft, statement)?),
            Base::Pin | Base::Finger => {
                let key = SoftwareKey::of(
                    &self.world.software,
                    draft.signer(Part::Assertion, "platform"),
                )?;
                let public = if draft.base == Base::Pin {
                    &self.world.software.pin_key
                } else {
                    &self.world.software.finger_key
                };
                let name = Name::of(&TpmtPublic::parse(&public.0)?);
                let id = PlatformKeyId::from_bytes(name.as_bytes()).ok_or("name")?;
                let signature = key.sign_tpm(&platform_message(statement));
                (-70103, PlatformAssertion { key: id, signature }.encode())
            }
            _ if draft.edits.iter().any(|edit| matches!(edit, Edit::AlsoTouched)) => {
                (-70101, self.touch(draft, statement)?)
            }
            _ => return Ok(None),
        };
        Ok(Some((label, draft.edit_map(encoded, pick!(Assertion))?)))
    }

    fn touch(&self, draft: &Draft<'_>, statement: &[u8]) -> Result<Vec<u8>, Fault> {
        let key =
            SoftwareKey::of(&self.world.software, draft.signer(Part::Assertion, "credential"))?;
        let challenge = assertion_challenge(statement);
        let client_data = ClientData {
            ceremony: Ceremony::Authentication,
            challenge: &challenge,
            origin: ORIGIN,
        };
        let mut client_data = client_data.to_json();
        draft.edit(&mut client_data, pick!(ClientData));
        let mut authenticator_data = sha256(self.world.rp_id.as_bytes()).to_vec();
        authenticator_data.push(0x05);
        authenticator_data.extend_from_slice(&(self.world.sign_count + 100).to_be_bytes());
        draft.edit(&mut authenticator_data, pick!(AuthenticatorData));
        let signed = [authenticator_data.as_slice(), &sha256(&client_data)].concat();
        Ok(FidoAssertion {
            credential_id: self.world.software.credential.0.clone(),
            signature: key.sign_der(&signed),
            authenticator_data,
            client_data,
            observed: Some(ObservedVerification::BuiltIn),
        }
        .encode())
    }

    /// Header label and content of the registration.
    fn registration(
        &self,
        draft: &Draft<'_>,
        statement: &[u8],
    ) -> Result<Option<(i64, Vec<u8>)>, Fault> {
        let (label, encoded) = match draft.base {
            Base::NewKey => (-70104, self.new_security_key(draft, statement)?),
            Base::NewPin => {
                let public = pin_key(&self.release.point());
                (-70105, self.new_platform_key(draft, statement, public, None)?)
            }
            Base::NewFinger => {
                let release = self.release.point();
                let public = finger_key(&self.platform.point(), &release);
                let release = Some(public_area(&release));
                (-70105, self.new_platform_key(draft, statement, public, release)?)
            }
            _ => return Ok(None),
        };
        Ok(Some((label, draft.edit_map(encoded, pick!(Registration))?)))
    }

    fn new_security_key(&self, draft: &Draft<'_>, statement: &[u8]) -> Result<Vec<u8>, Fault> {
        let software = &self.world.software;
        let maker = SoftwareKey::of(software, draft.signer(Part::NewKey, "maker"))?;
        let challenge = registration_challenge(statement);
        let client_data =
            ClientData { ceremony: Ceremony::Registration, challenge: &challenge, origin: ORIGIN };
        let mut client_data = client_data.to_json();
        draft.edit(&mut client_data, pick!(ClientData));
        let id = sha256(b"signet fixtures: a new credential");
        let mut data = sha256(self.world.rp_id.as_bytes()).to_vec();
        data.push(0x45);
        data.extend_from_slice(&1_u32.to_be_bytes());
        data.extend_from_slice(&self.world.aaguid.0);
        data.extend_from_slice(&[0, 32]);
        data.extend_from_slice(&id);
        data.extend_from_slice(&self.platform.cose_key().to_bytes());
        draft.edit(&mut data, pick!(AuthenticatorData));
        let signed = [data.as_slice(), &sha256(&client_data)].concat();
        let statement = Value::Map(vec![
            ("alg".into(), (-7).into()),
            ("sig".into(), Value::Bytes(maker.sign_der(&signed))),
            ("x5c".into(), {
                let certificate = &software.maker_certificates["sound"].0;
                Value::Array(vec![Value::Bytes(certificate.clone())])
            }),
        ]);
        let object = vec![
            ("fmt".into(), "packed".into()),
            ("attStmt".into(), statement),
            ("authData".into(), Value::Bytes(data)),
        ];
        let attestation_object = draft.edit_map(map::encode(object), pick!(Object))?;
        Ok(FidoRegistration { attestation_object, client_data }.encode())
    }

    fn new_platform_key(
        &self,
        draft: &Draft<'_>,
        statement: &[u8],
        mut public: TpmtPublic,
        authorisation_key: Option<Vec<u8>>,
    ) -> Result<Vec<u8>, Fault> {
        draft.edit(&mut public, pick!(NewPublic));
        let mut attest = self.certify(&platform_registration_challenge(statement), &public);
        draft.edit(&mut attest, pick!(NewCertify));
        let certification = self.sign(draft, Part::NewKey, attest.to_bytes())?;
        let public = public.to_bytes();
        Ok(PlatformRegistration { public, certification, authorisation_key }.encode())
    }

    /// Quote and certification.
    fn tpm(&self, draft: &Draft<'_>, data: &[u8]) -> Result<Vec<u8>, Fault> {
        let mut quote = self.quote(data)?;
        draft.edit(&mut quote, pick!(Quote));
        let mut quote = quote.to_bytes();
        draft.edit(&mut quote, pick!(QuoteBytes));
        let quote = self.sign(draft, Part::Quote, quote)?;
        let due = !matches!(
            draft.base,
            Base::Renewal | Base::Action | Base::NewKey | Base::NewPin | Base::NewFinger
        );
        let certification = if due {
            let mut public = tls_key(&self.tls.point());
            draft.edit(&mut public, pick!(Public));
            let mut attest = self.certify(data, &public);
            draft.edit(&mut attest, pick!(Certify));
            let mut attest = attest.to_bytes();
            draft.edit(&mut attest, pick!(CertifyBytes));
            let signed = self.sign(draft, Part::Certification, attest)?;
            Some(signet_evidence::header::CertifiedKey { signed, public: public.to_bytes() })
        } else {
            None
        };
        let ak = draft.edits.iter().find_map(|edit| match edit {
            Edit::Ak(name) => Some(*name),
            _ => None,
        });
        let ak = self.world.software.ak_certificates.get(ak.unwrap_or("sound")).ok_or("AK")?;
        let log = draft.edits.iter().find_map(|edit| match edit {
            Edit::Log(log) => Some(log()),
            _ => None,
        });
        let evidence = TpmEvidence {
            ak_chain: CertificateChain::new(vec![ak.0.clone()]).ok_or("chain")?,
            quote,
            certification,
            pcrs: Some(self.pcrs()),
            event_log: log,
        };
        draft.edit_map(evidence.encode(), pick!(Tpm))
    }

    fn pcrs(&self) -> std::collections::BTreeMap<u8, Vec<u8>> {
        self.world.pcrs.iter().map(|(index, value)| (*index, value.0.clone())).collect()
    }

    fn attest(&self, data: &[u8], attested: Attested) -> TpmsAttest {
        TpmsAttest {
            qualified_signer: Name::of(&attestation_key(&self.ak.point())),
            extra_data: data.to_vec(),
            clock_info: ClockInfo {
                clock: self.world.clock_ms + 60_000,
                reset_count: self.world.reset_count,
                restart_count: self.world.restart_count,
                safe: true,
            },
            firmware_version: 1,
            attested,
        }
    }

    fn quote(&self, data: &[u8]) -> Result<TpmsAttest, Fault> {
        let bank = HashAlgorithm::Sha256;
        let pcr_select = vec![PcrSelection::new(bank, PCRS)?];
        let values = PcrValues::of_bank(bank, self.pcrs())?;
        let pcr_digest = pcr_digest(&pcr_select, &values, bank)?;
        Ok(self.attest(data, Attested::Quote(QuoteInfo { pcr_select, pcr_digest })))
    }

    fn certify(&self, data: &[u8], public: &TpmtPublic) -> TpmsAttest {
        let name = Name::of(public);
        self.attest(
            data,
            Attested::Certify(CertifyInfo { name: name.clone(), qualified_name: name }),
        )
    }

    fn sign(&self, draft: &Draft<'_>, part: Part, attest: Vec<u8>) -> Result<SignedAttest, Fault> {
        let key = SoftwareKey::of(&self.world.software, draft.signer(part, "ak"))?;
        Ok(SignedAttest { signature: key.sign_tpm(&attest), attest })
    }

    fn seal(
        &self,
        draft: &Draft<'_>,
        statement: &[u8],
        parts: impl Iterator<Item = (i64, Vec<u8>)>,
        tpm: Vec<u8>,
    ) -> Result<Vec<u8>, Fault> {
        let mut header: Map = vec![
            (1.into(), (-9).into()),
            (16.into(), TYPE.into()),
            (33.into(), Value::Bytes(self.peer(draft.peer)?.to_vec())),
            ((-70102).into(), Value::Bytes(tpm)),
        ];
        header.extend(parts.map(|(label, bytes)| (label.into(), Value::Bytes(bytes))));
        draft.edit(&mut header, pick!(Header));
        let mut protected = map::encode(header);
        draft.edit(&mut protected, pick!(HeaderBytes));
        let signer = draft.signer(Part::Message, "tls");
        let signature = self.outer_signature(signer, &protected, statement)?;
        let mut items = vec![
            Value::Bytes(protected),
            Value::Map(Vec::new()),
            Value::Bytes(statement.to_vec()),
            Value::Bytes(signature),
        ];
        draft.edit(&mut items, pick!(Message));
        let mut bytes = cbor::encode(&Value::Tag(18, Box::new(Value::Array(items))));
        draft.edit(&mut bytes, pick!(Bytes));
        Ok(bytes)
    }

    /// The signature of `Sig_structure` (RFC 9052 section 4.4) by the key of `role`.
    pub(super) fn outer_signature(
        &self,
        role: &str,
        protected: &[u8],
        payload: &[u8],
    ) -> Result<Vec<u8>, Fault> {
        let bytes = |bytes: &[u8]| Value::Bytes(bytes.to_vec());
        let structure = vec!["Signature1".into(), bytes(protected), bytes(&[]), bytes(payload)];
        let message = cbor::encode(&Value::Array(structure));
        Ok(SoftwareKey::of(&self.world.software, role)?.sign(&message).to_vec())
    }
}
