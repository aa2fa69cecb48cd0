//! `org.signet.Presence1`: the object that everybody may call.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use signet_evidence::{Action, Purpose, UnixTime};
use tokio::sync::{OnceCell, mpsc, watch};
use zbus::fdo::DBusProxy;
use zbus::message::Header;
use zbus::names::BusName;
use zbus::object_server::SignalEmitter;
use zbus::{Connection, OwnedObjectPath, interface};

use super::arguments::{self, Dictionary};
use super::door::{Admitted, Door};
use super::machine::{endorsement_key, tpm_health, tpm_status};
use super::refusal::Refusal;
use super::request::{self, Place, Reserved, Results};
use super::standing::{self, Meaning};
use crate::authenticator::{KeyRing, PluggedKeys, Task, Upkeep};
use crate::config::Timeouts;
use crate::der;
use crate::desk::Desk;
use crate::enrol::Enroller;
use crate::failure::{ArgumentError, Failure};
use crate::platform::{Means, Part, Platform};
use crate::polkit::{Details, Polkit, Right};
use crate::presence::{Prepared, Request};
use crate::sessions::{Cause, Sessions};
use crate::state::{Base64, Enrolment, StateDir};
use crate::tls_message::certificate_verify_digest;
use crate::tpm::{Tpm, Urgency};
use crate::work::Work;

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

    /// Fixes the statement of a request for evidence.
    async fn presence(
        &self,
        caller: &Admitted,
        (mut request, wait): (Request, bool),
    ) -> Result<Work, Failure> {
        // Before anything is asked of other services.
        crate::presence::usable(&self.state.stored())?;
        if request.purpose == Purpose::Renew {
            self.sessions.may_renew(caller.uid)?;
        }
        let part = match (request.purpose, request.means) {
            (Purpose::Session | Purpose::Action, means) => {
                let allowed = [&*request.allow_credentials, &*request.touch_credentials].concat();
                self.platform.answerer(means, &allowed, self.keys.any_plugged()).await?
            }
            (Purpose::EnrolKey, Some(Means::Platform(method))) => {
                Some(self.platform.maker(method, caller.user_name().await?).await?)
            }
            _ => None,
        };
        if !matches!(part, Some(Part::Sign(..))) {
            // No security key holds those, and only a security key brings another key.
            let asked = !request.allow_credentials.is_empty();
            request.allow_credentials.retain(|id| !self.platform.holds(id));
            let none = request.allow_credentials.is_empty() && request.touch_credentials.is_empty();
            if asked && none {
                return Err(Failure::NoCredential);
            }
        }
        let prepared = Box::new(Prepared::new(request, part, &self.state.stored(), now())?);
        Ok(Work::Presence { prepared, wait })
    }

    /// Puts a request before the desk and its object on the bus.
    async fn accept(
        &self,
        connection: &Connection,
        caller: &Admitted,
        token: &str,
        work: Work,
    ) -> Result<(OwnedObjectPath,), Failure> {
        let path = request::path(caller.id.as_str(), token)?;
        let reserved = Reserved::new(Arc::clone(&self.places), path.clone())?;
        let (telling, told) = mpsc::unbounded_channel();
        let owner = caller.bus_name()?;
        let meaning = Meaning::of(&work);
        let id = self.desk.submit((**caller).clone(), work, telling)?;
        let place = Place { connection: connection.clone(), path: path.clone(), owner };
        if let Err(failure) = place.open(self.desk.clone(), id).await {
            self.desk.cancel(id);
            return Err(failure);
        }
        tracing::info!(request = %id, caller = %caller.id, uid = caller.uid, "request accepted");
        let (sessions, uid) = (self.sessions.clone(), caller.uid);
        tokio::spawn(place.relay(told, move |result| {
            drop(reserved);
            if let Some(result) = result {
                meaning.note(&sessions, uid, now(), result);
            }
        }));
        // The caller may have left before we watched out for it.
        if !is_connected(connection, caller.id.as_str()).await {
            self.desk.caller_gone(&caller.id);
        }
        Ok((path,))
    }

    /// Upkeep of a security key, if the caller may.
    async fn keep_up(
        &self,
        connection: &Connection,
        header: &Header<'_>,
        token: &str,
        upkeep: Upkeep,
    ) -> Result<(OwnedObjectPath,), Refusal> {
        let details = Details::of_task(&upkeep.task);
        let right = Right::ManageAuthenticators;
        let caller = self.door.admit(connection, header, right, &details).await?;
        Ok(self.accept(connection, &caller, token, Work::Upkeep(upkeep)).await?)
    }

    /// Lets in who may do this step of the machine's own business.
    async fn admit(
        &self,
        connection: &Connection,
        header: &Header<'_>,
        right: Right,
        step: &'static str,
    ) -> Result<Admitted, Failure> {
        self.door.admit(connection, header, right, &Details::of_step(step)).await
    }

    /// Whose sessions a caller means: its own, or, where it may, another user's.
    async fn whose(
        &self,
        connection: &Connection,
        header: &Header<'_>,
        options: Dictionary,
        step: &'static str,
    ) -> Result<u32, Failure> {
        let uid = arguments::user(options)?;
        let caller = self.door.identify(connection, header).await?;
        let uid = uid.unwrap_or(caller.uid);
        if uid != caller.uid {
            let (right, details) = (Right::ManageDevice, Details::of_step(step));
            self.door.authorise(connection, header, &caller, right, &details).await?;
        }
        Ok(uid)
    }

    /// A fact of the enrolment, or its default.
    fn enrolled_value<T: Default>(&self, fact: impl FnOnce(&Enrolment) -> T) -> T {
        self.state.stored().enrolment.as_ref().map(fact).unwrap_or_default()
    }

    async fn patiently<T>(
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

    async fn announce(&self, emitter: &SignalEmitter<'_>) -> zbus::Result<()> {
        self.enrolled_changed(emitter).await?;
        self.device_id_changed(emitter).await?;
        self.operator_changed(emitter).await?;
        self.authority_changed(emitter).await?;
        self.audience_changed(emitter).await?;
        self.rp_id_changed(emitter).await?;
        self.device_certificates_changed(emitter).await?;
        self.authority_certificates_changed(emitter).await
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
        if let Err(error) = self.device_certificates_changed(&emitter).await {
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
        let _caller = self.admit(connection, &header, Right::Machine, "sign-tls").await?;
        crate::presence::usable(&self.state.stored())?;
        let sender = header.sender().ok_or(Failure::NotAllowed)?;
        let tpm = self.tpm.on_behalf_of(sender, Urgency::Renewal);
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
                let words = super::refusal::message(&failure);
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
        Ok((results,))
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

/// Tells everybody of keys that are plugged in and pulled out, as long as the bus lets us.
pub(super) async fn announce_keys(
    emitter: &SignalEmitter<'_>,
    mut changes: watch::Receiver<PluggedKeys>,
    sessions: &Sessions,
) -> zbus::Result<()> {
    let mut known = changes.borrow_and_update().clone();
    while changes.changed().await.is_ok() {
        let now = changes.borrow_and_update().clone();
        // A key that was pulled out and is back has another time.
        for (path, _) in known.iter().filter(|(path, since)| now.get(*path) != Some(*since)) {
            sessions.unplugged(path);
            Service::authenticator_removed(emitter, &path.to_string_lossy()).await?;
        }
        for (path, _) in now.iter().filter(|(path, since)| known.get(*path) != Some(*since)) {
            sessions.plugged();
            Service::authenticator_added(emitter, &path.to_string_lossy()).await?;
        }
        known = now;
    }
    Ok(())
}

/// Tells that somebody's sessions changed, not whose.
pub(super) async fn announce_sessions(
    emitter: &SignalEmitter<'_>,
    sessions: &Sessions,
) -> zbus::Result<()> {
    let mut changes = sessions.changes();
    while changes.changed().await.is_ok() {
        Service::sessions_changed(emitter).await?;
    }
    Ok(())
}

fn now() -> UnixTime {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    // A clock before 1970 is only a wrong hint: no decision is taken by the host's time.
    UnixTime(since.map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX)))
}

async fn is_connected(connection: &Connection, name: &str) -> bool {
    let asked = async {
        let bus = DBusProxy::new(connection).await?;
        bus.name_has_owner(BusName::try_from(name)?).await.map_err(zbus::Error::from)
    };
    // When the bus does not answer, its closing ends everything anyway.
    asked.await.unwrap_or(true)
}

fn unwrap(certificates: &[Base64]) -> Vec<Vec<u8>> {
    certificates.iter().map(|der| der.0.clone()).collect()
}
