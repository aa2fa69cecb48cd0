//! `org.signet.Presence1`: the object that everybody may call.

mod announce;
mod intake;
mod status;

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use signet_evidence::{Action, Purpose};
use tokio::sync::{OnceCell, watch};
use zbus::message::Header;
use zbus::object_server::SignalEmitter;
use zbus::{Connection, OwnedObjectPath, interface};

use super::arguments::{self, Dictionary};
use super::door::Door;
use super::machine::endorsement_key;
use super::refusal::Refusal;
use super::request::Results;
use super::standing;
use crate::authenticator::{KeyRing, PluggedKeys, Task};
use crate::config::Timeouts;
use crate::der;
use crate::desk::Desk;
use crate::enrol::Enroller;
use crate::failure::ArgumentError;
use crate::platform::Platform;
use crate::polkit::{Details, Polkit, Right};
use crate::sessions::{Cause, Sessions};
use crate::state::{Base64, Enrolment, StateDir};
use crate::tls_message::certificate_verify_digest;
use crate::tpm::{Tpm, Urgency};
use crate::work::Work;
pub(super) use announce::{announce_keys, announce_sessions};
use intake::is_connected;

/// What the service calls upon, besides the desk.
#[derive(Debug)]
pub struct Parts {
    /// Enrolment of the machine.
    pub enroller: Enroller,
    /// What the daemon remembers.
    pub state: StateDir,
    /// The TPM.
    pub tpm: Tpm,
    /// The security keys.
    pub keys: KeyRing,
    /// The keys of this machine that stand for people.
    pub platform: Platform,
    /// Who may do what.
    pub polkit: Polkit,
    /// Everybody's sessions.
    pub sessions: Sessions,
}

/// Serves `org.signet.Presence1`.
#[derive(Debug)]
pub struct Service {
    desk: Desk,
    enroller: Enroller,
    state: StateDir,
    tpm: Tpm,
    keys: KeyRing,
    platform: Platform,
    tpm_patience: Duration,
    /// Kinds of endorsement key with a certificate. Read once: they lie in the TPM for its life.
    certified: OnceCell<Vec<String>>,
    door: Door,
    sessions: Sessions,
    /// Paths of unfinished requests.
    places: Arc<Mutex<HashSet<OwnedObjectPath>>>,
}

impl Service {
    /// A service over the daemon's parts.
    pub fn new(desk: Desk, parts: Parts, timeouts: Timeouts) -> Self {
        let Parts { enroller, state, tpm, keys, platform, polkit, sessions } = parts;
        let (tpm_patience, places) = (timeouts.tpm, Arc::default());
        let (door, certified) = (Door::new(polkit, timeouts.turn), OnceCell::new());
        Self {
            desk,
            enroller,
            state,
            tpm,
            keys,
            platform,
            tpm_patience,
            certified,
            door,
            sessions,
            places,
        }
    }

    /// Everybody's sessions.
    pub(super) fn sessions(&self) -> Sessions {
        self.sessions.clone()
    }

    /// Told of connections that left the bus.
    pub(super) fn departures(&self) -> Door {
        self.door.clone()
    }

    /// The plugged keys, and every change of them.
    pub(super) fn key_changes(&self) -> watch::Receiver<PluggedKeys> {
        self.keys.changes()
    }

    /// A fact of the enrolment, or its default.
    fn enrolled_value<T: Default>(&self, fact: impl FnOnce(&Enrolment) -> T) -> T {
        self.state.stored().enrolment.as_ref().map(fact).unwrap_or_default()
    }
}

#[interface(name = "org.signet.Presence1", introspection_docs = false)]
impl Service {
    #[zbus(out_args("results"))]
    async fn begin_enrolment(
        &self,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<(Results,), Refusal> {
        let right = Right::ManageDevice;
        let _caller = self.admit(connection, &header, right, "begin-enrolment").await?;
        let introduction = self.enroller.begin().await?;
        let endorsement: Vec<Results> =
            introduction.endorsement.keys.into_iter().map(endorsement_key).collect();
        Ok((Results::from([
            ("endorsement", endorsement.into()),
            ("ek_chain", introduction.endorsement.chain.into()),
            ("ak_public", introduction.ak_public.into()),
            ("tls_public", introduction.tls_public.into()),
        ]),))
    }

    #[zbus(out_args("results"))]
    async fn activate_enrolment(
        &self,
        options: Dictionary,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<(Results,), Refusal> {
        let activation = arguments::activation(options)?;
        let right = Right::ManageDevice;
        let _caller = self.admit(connection, &header, right, "activate-enrolment").await?;
        let activated = self.enroller.activate(&activation).await?;
        let pcrs: BTreeMap<u8, Vec<u8>> = activated.quote.pcrs;
        Ok((Results::from([
            ("proof", activated.proof.into()),
            ("certify_attest", activated.certification.attest.into()),
            ("certify_signature", activated.certification.signature.into()),
            ("quote_attest", activated.quote.attest.into()),
            ("quote_signature", activated.quote.signature.into()),
            ("pcrs", pcrs.into()),
            ("csr", activated.csr.into()),
        ]),))
    }

    async fn complete_enrolment(
        &self,
        options: Dictionary,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
        #[zbus(signal_emitter)] emitter: SignalEmitter<'_>,
    ) -> Result<(), Refusal> {
        let admission = arguments::admission(options)?;
        let right = Right::ManageDevice;
        let _caller = self.admit(connection, &header, right, "complete-enrolment").await?;
        let stored = self.enroller.complete(admission).await?;
        if let Some(enrolment) = &stored.enrolment {
            tracing::info!(device = %enrolment.device_id, "enrolled");
        }
        if let Err(error) = self.announce(&emitter).await {
            tracing::warn!(%error, "cannot announce the enrolment");
        }
        Ok(())
    }

    async fn renew_certificates(
        &self,
        options: Dictionary,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
        #[zbus(signal_emitter)] emitter: SignalEmitter<'_>,
    ) -> Result<(), Refusal> {
        let renewal = arguments::renewal(options)?;
        let right = Right::Machine;
        let _caller = self.admit(connection, &header, right, "renew-certificates").await?;
        let stored = self.enroller.renew(renewal).await?;
        if let Some(enrolment) = &stored.enrolment {
            tracing::info!(device = %enrolment.device_id, "certificates renewed");
        }
        let announced = async {
            self.device_certificates_changed(&emitter).await?;
            self.authority_certificates_changed(&emitter).await
        };
        if let Err(error) = announced.await {
            tracing::warn!(%error, "cannot announce the new certificates");
        }
        Ok(())
    }

    #[zbus(out_args("request"))]
    async fn request_presence(
        &self,
        handle_token: &str,
        options: Dictionary,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<(OwnedObjectPath,), Refusal> {
        let (request, wait) = arguments::presence(options)?;
        let action = request.action.as_deref().map(Action::parse).transpose();
        let action = action.map_err(ArgumentError::Action)?;
        let details = Details::of_purpose(request.purpose, action.as_ref().map(Action::details));
        let right = Right::for_purpose(request.purpose);
        let caller = self.door.admit(connection, &header, right, &details).await?;
        let work = self.presence(&caller, (request, wait)).await?;
        Ok(self.accept(connection, &caller, handle_token, work).await?)
    }

    #[zbus(out_args("request"))]
    async fn register_authenticator(
        &self,
        handle_token: &str,
        options: Dictionary,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<(OwnedObjectPath,), Refusal> {
        let request = arguments::registration(options)?;
        let details = Details::of_purpose(Purpose::EnrolKey, None);
        let caller = self.door.admit(connection, &header, Right::Enrol, &details).await?;
        let work = self.presence(&caller, request).await?;
        Ok(self.accept(connection, &caller, handle_token, work).await?)
    }

    #[zbus(out_args("request"))]
    async fn add_finger(
        &self,
        handle_token: &str,
        options: Dictionary,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<(OwnedObjectPath,), Refusal> {
        let upkeep = arguments::add_finger(options)?;
        self.keep_up(connection, &header, handle_token, upkeep).await
    }

    #[zbus(out_args("request"))]
    async fn list_fingers(
        &self,
        handle_token: &str,
        options: Dictionary,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<(OwnedObjectPath,), Refusal> {
        let upkeep = arguments::plain(options, Task::ListFingers)?;
        self.keep_up(connection, &header, handle_token, upkeep).await
    }

    #[zbus(out_args("request"))]
    async fn finger_sensor(
        &self,
        handle_token: &str,
        options: Dictionary,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<(OwnedObjectPath,), Refusal> {
        let upkeep = arguments::plain(options, Task::Sensor)?;
        self.keep_up(connection, &header, handle_token, upkeep).await
    }

    #[zbus(out_args("request"))]
    async fn rename_finger(
        &self,
        handle_token: &str,
        options: Dictionary,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<(OwnedObjectPath,), Refusal> {
        let upkeep = arguments::rename_finger(options)?;
        self.keep_up(connection, &header, handle_token, upkeep).await
    }

    #[zbus(out_args("request"))]
    async fn remove_finger(
        &self,
        handle_token: &str,
        options: Dictionary,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<(OwnedObjectPath,), Refusal> {
        let upkeep = arguments::remove_finger(options)?;
        self.keep_up(connection, &header, handle_token, upkeep).await
    }

    #[zbus(out_args("request"))]
    async fn set_pin(
        &self,
        handle_token: &str,
        options: Dictionary,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<(OwnedObjectPath,), Refusal> {
        let upkeep = arguments::plain(options, Task::SetPin)?;
        self.keep_up(connection, &header, handle_token, upkeep).await
    }

    #[zbus(out_args("request"))]
    async fn change_pin(
        &self,
        handle_token: &str,
        options: Dictionary,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<(OwnedObjectPath,), Refusal> {
        if let Some(upkeep) = arguments::change_pin(options)? {
            return self.keep_up(connection, &header, handle_token, upkeep).await;
        }
        let details = Details::of_step("change-platform-pin");
        let right = Right::ManageAuthenticators;
        let caller = self.door.admit(connection, &header, right, &details).await?;
        let work = Work::ChangePin(self.platform.pin_key_of(&caller.user_name().await?)?);
        Ok(self.accept(connection, &caller, handle_token, work).await?)
    }

    #[zbus(out_args("request"))]
    async fn list_credentials(
        &self,
        handle_token: &str,
        options: Dictionary,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<(OwnedObjectPath,), Refusal> {
        let upkeep = arguments::plain(options, Task::ListCredentials)?;
        self.keep_up(connection, &header, handle_token, upkeep).await
    }

    #[zbus(out_args("request"))]
    async fn remove_credential(
        &self,
        handle_token: &str,
        options: Dictionary,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<(OwnedObjectPath,), Refusal> {
        let upkeep = arguments::remove_credential(options)?;
        self.keep_up(connection, &header, handle_token, upkeep).await
    }

    #[zbus(out_args("request"))]
    async fn reset_authenticator(
        &self,
        handle_token: &str,
        options: Dictionary,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<(OwnedObjectPath,), Refusal> {
        let upkeep = arguments::reset(options)?;
        self.keep_up(connection, &header, handle_token, upkeep).await
    }

    #[zbus(out_args("request"))]
    async fn configure_authenticator(
        &self,
        handle_token: &str,
        options: Dictionary,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<(OwnedObjectPath,), Refusal> {
        let upkeep = arguments::configuration(options)?;
        self.keep_up(connection, &header, handle_token, upkeep).await
    }

    async fn register_agent(
        &self,
        options: Dictionary,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<(), Refusal> {
        let abilities = arguments::abilities(options)?;
        let caller = self.door.identify(connection, &header).await?;
        tracing::info!(agent = %caller.id, uid = caller.uid, "agent registered");
        self.desk.agents().register((*caller).clone(), abilities);
        // It may have left before we watched out for it.
        if !is_connected(connection, caller.id.as_str()).await {
            self.desk.agents().forget(&caller.id);
        }
        Ok(())
    }

    #[zbus(out_args("signature"))]
    async fn sign_tls(
        &self,
        message: Vec<u8>,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<(Vec<u8>,), Refusal> {
        let digest = certificate_verify_digest(&message)?;
        let caller = self.admit(connection, &header, Right::Machine, "sign-tls").await?;
        crate::presence::usable(&self.state.stored())?;
        let tpm = self.tpm.on_behalf_of(&caller.account(), Urgency::Renewal);
        let signature = self.patiently(tpm.sign_tls(digest)).await?;
        Ok((der::ecdsa_signature(&signature),))
    }

    #[zbus(out_args("authenticators"))]
    async fn list_authenticators(
        &self,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<(Vec<Results>,), Refusal> {
        let _call = self.door.enter(&header)?;
        let listed = self.keys.list().await.into_iter().map(super::keys::facts);
        Ok((listed.collect(),))
    }

    #[zbus(out_args("sessions"))]
    async fn list_sessions(
        &self,
        options: Dictionary,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<(Vec<Results>,), Refusal> {
        let uid = self.whose(connection, &header, options, "list-sessions").await?;
        Ok((standing::list(uid, self.sessions.state(uid), self.sessions.list(uid)),))
    }

    async fn end_sessions(
        &self,
        options: Dictionary,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<(), Refusal> {
        let uid = self.whose(connection, &header, options, "end-sessions").await?;
        self.sessions.end(uid, Cause::Asked);
        Ok(())
    }

    #[zbus(out_args("results"))]
    async fn status(
        &self,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<(Results,), Refusal> {
        let caller = self.door.identify(connection, &header).await?;
        Ok((self.describe(&caller).await,))
    }

    #[zbus(signal)]
    async fn authenticator_added(emitter: &SignalEmitter<'_>, path: &str) -> zbus::Result<()>;

    #[zbus(signal)]
    async fn authenticator_removed(emitter: &SignalEmitter<'_>, path: &str) -> zbus::Result<()>;

    #[zbus(signal)]
    async fn sessions_changed(emitter: &SignalEmitter<'_>) -> zbus::Result<()>;

    #[zbus(property(emits_changed_signal = "const"))]
    fn version(&self) -> &str {
        env!("CARGO_PKG_VERSION")
    }

    #[zbus(property)]
    fn enrolled(&self) -> bool {
        crate::presence::usable(&self.state.stored()).is_ok()
    }

    #[zbus(property)]
    fn device_id(&self) -> String {
        self.enrolled_value(|enrolment| enrolment.device_id.to_string())
    }

    #[zbus(property)]
    fn operator(&self) -> String {
        self.enrolled_value(|enrolment| enrolment.operator.clone())
    }

    #[zbus(property)]
    fn authority(&self) -> String {
        self.enrolled_value(|enrolment| enrolment.authority.clone())
    }

    #[zbus(property)]
    fn audience(&self) -> String {
        self.enrolled_value(|enrolment| enrolment.audience.clone())
    }

    #[zbus(property)]
    fn rp_id(&self) -> String {
        self.enrolled_value(|enrolment| enrolment.rp_id.clone())
    }

    #[zbus(property)]
    fn device_certificates(&self) -> Vec<Vec<u8>> {
        self.enrolled_value(|enrolment| unwrap(&enrolment.device_chain))
    }

    #[zbus(property)]
    fn authority_certificates(&self) -> Vec<Vec<u8>> {
        self.enrolled_value(|enrolment| unwrap(&enrolment.ca))
    }
}

fn unwrap(certificates: &[Base64]) -> Vec<Vec<u8>> {
    certificates.iter().map(|der| der.0.clone()).collect()
}
