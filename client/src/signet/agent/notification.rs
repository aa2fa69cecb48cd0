//! Desktop notifications (Desktop Notifications Specification 1.2) with live state.

// The macro writes the types around this trait; their documentation is the specification's.
#![allow(missing_docs)]

use std::collections::HashMap;
use std::time::Duration;

use futures_util::StreamExt;
use zbus::{Connection, Variant, proxy};

use super::asked::{escaped, without_markup};

/// How long a notification server may take to start.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long the last words stay, milliseconds.
const FAREWELL: i32 = 4000;
/// Key of the button that says no.
const REFUSE: &str = "refuse";

#[proxy(
    interface = "org.freedesktop.Notifications",
    default_service = "org.freedesktop.Notifications",
    default_path = "/org/freedesktop/Notifications"
)]
trait Notifications {
    fn get_capabilities(&self) -> zbus::Result<Vec<String>>;
    #[expect(clippy::too_many_arguments, reason = "the specification's")]
    fn notify(
        &self,
        app_name: &str,
        replaces_id: u32,
        app_icon: &str,
        summary: &str,
        body: &str,
        actions: &[&str],
        hints: &HashMap<&str, Variant<'_>>,
        expire_timeout: i32,
    ) -> zbus::Result<u32>;
    fn close_notification(&self, id: u32) -> zbus::Result<()>;
    #[zbus(signal)]
    fn action_invoked(&self, id: u32, action_key: String) -> zbus::Result<()>;
}

/// The notification server of the session.
#[derive(Clone)]
pub(super) struct Notifications {
    proxy: NotificationsProxy<'static>,
    markup: bool,
    /// Whether it shows buttons.
    pub(super) buttons: bool,
}

/// What a person pressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pressed {
    Refuse,
    Number(u32),
}

/// One notification, shown anew whenever there is something new.
pub(super) struct Notification {
    server: Notifications,
    id: u32,
    presses: ActionInvokedStream,
}

impl Notifications {
    /// The server of this session; `None` when there is none.
    pub(super) async fn find(session: &Connection) -> Option<Self> {
        let proxy = NotificationsProxy::new(session).await.ok()?;
        let capabilities = tokio::time::timeout(PATIENCE, proxy.get_capabilities()).await.ok()?;
        let capabilities = capabilities.ok()?;
        let can = |what: &str| capabilities.iter().any(|found| found == what);
        Some(Self { proxy, markup: can("body-markup"), buttons: can("actions") })
    }

    /// A notification that is not shown yet.
    pub(super) async fn notification(&self) -> zbus::Result<Notification> {
        let presses = self.proxy.receive_action_invoked().await?;
        Ok(Notification { server: self.clone(), id: 0, presses })
    }

    fn body(&self, lines: &[String]) -> String {
        let harmless = |line: &String| {
            if self.markup { escaped(line) } else { without_markup(line) }
        };
        lines.iter().map(harmless).collect::<Vec<_>>().join("\n")
    }
}

impl Notification {
    /// Shows it until it is answered or over; with these numbers to choose from.
    pub(super) async fn show(
        &mut self,
        title: &str,
        lines: &[String],
        numbers: &[u32],
    ) -> zbus::Result<()> {
        let keys: Vec<String> = numbers.iter().map(ToString::to_string).collect();
        let mut actions: Vec<&str> = Vec::new();
        if self.server.buttons {
            actions.extend(keys.iter().flat_map(|key| [key.as_str(), key.as_str()]));
            actions.extend([REFUSE, "Refuse"]);
        }
        // Critical: servers leave it until it is taken back.
        self.notify(title, lines, &actions, 2, 0).await
    }

    /// Shows how it ended, for a moment.
    pub(super) async fn end(&mut self, title: &str, lines: &[String]) -> zbus::Result<()> {
        self.notify(title, lines, &[], 0, FAREWELL).await
    }

    /// Takes it back.
    pub(super) async fn close(&self) {
        // Whoever closed it before has done what we want.
        let _ = self.server.proxy.close_notification(self.id).await;
    }

    /// Waits for a press of one of its buttons.
    pub(super) async fn pressed(&mut self) -> Pressed {
        loop {
            let Some(signal) = self.presses.next().await else {
                return std::future::pending().await;
            };
            let Ok(arguments) = signal.args() else { continue };
            if arguments.id != self.id || self.id == 0 {
                continue;
            }
            match arguments.action_key.as_str() {
                REFUSE => return Pressed::Refuse,
                key => {
                    if let Ok(number) = key.parse() {
                        return Pressed::Number(number);
                    }
                }
            }
        }
    }

    async fn notify(
        &mut self,
        title: &str,
        lines: &[String],
        actions: &[&str],
        urgency: u8,
        expires: i32,
    ) -> zbus::Result<()> {
        let hints = HashMap::from([
            ("urgency", Variant::from(urgency)),
            ("category", Variant::from("presence")),
            // Not kept in a history: it says nothing once it is over.
            ("transient", Variant::from(true)),
        ]);
        let body = self.server.body(lines);
        let proxy = &self.server.proxy;
        let icon = "dialog-password";
        let id = proxy.notify("Signet", self.id, icon, title, &body, actions, &hints, expires);
        self.id = id.await?;
        Ok(())
    }
}
