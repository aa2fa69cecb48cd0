//! Desktop notifications (Desktop Notifications Specification 1.2) with live state.

// The macro writes the types around this trait; their documentation is the specification's.
#![allow(missing_docs)]

use std::collections::HashMap;
use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use zbus::{Connection, Variant, proxy};

use super::asked::{escaped, without_markup};

/// How long a notification server may take to start.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long the last words stay, milliseconds.
const FAREWELL: i32 = 4000;
/// Key of the button that says no.
const REFUSE: &str = "refuse";
/// Reason of `NotificationClosed`: the person closed it.
const DISMISSED: u32 = 2;

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
    #[zbus(signal)]
    fn notification_closed(&self, id: u32, reason: u32) -> zbus::Result<()>;
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
    closings: NotificationClosedStream,
    /// A button was pressed since it was shown last: many servers close it then.
    pressed: bool,
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
        let closings = self.proxy.receive_notification_closed().await?;
        Ok(Notification { server: self.clone(), id: 0, presses, closings, pressed: false })
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

    /// Waits for a press of one of its buttons. With `closing_refuses`, a person who closes it says
    /// no: whoever has not been asked cannot have agreed.
    pub(super) async fn pressed(&mut self, closing_refuses: bool) -> Pressed {
        loop {
            tokio::select! {
                biased;
                Some(signal) = self.presses.next() => {
                    let Ok(arguments) = signal.args() else { continue };
                    if !self.is(arguments.id) {
                        continue;
                    }
                    self.pressed = true;
                    match arguments.action_key.as_str() {
                        REFUSE => return Pressed::Refuse,
                        key => {
                            if let Ok(number) = key.parse() {
                                return Pressed::Number(number);
                            }
                        }
                    }
                }
                Some(signal) = self.closings.next() => {
                    let Ok(arguments) = signal.args() else { continue };
                    let by_person = self.is(arguments.id) && arguments.reason == DISMISSED;
                    if by_person && closing_refuses && !self.pressed {
                        return Pressed::Refuse;
                    }
                }
                else => return std::future::pending().await,
            }
        }
    }

    fn is(&self, id: u32) -> bool {
        self.id != 0 && self.id == id
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
        // Whatever was closed before is on the screen again.
        while self.closings.next().now_or_never().flatten().is_some() {}
        self.pressed = false;
        Ok(())
    }
}
