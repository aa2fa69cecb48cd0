//! The table of protocol §3.2, and what §3.3 says of a token, in the fewest words: what must come of
//! each event.

use signet_evidence::RejectionCode;

use crate::event::{Event, Target};

/// Lifetimes of the test, in seconds.
pub(crate) const TOKEN: i64 = 300;
pub(crate) const ACTION: i64 = 60;
pub(crate) const PRESENCE: i64 = 900;
pub(crate) const SESSION: i64 = 2400;
/// How far a gateway's clock may be off (§3.3 step 4).
const SKEW: i64 = 5;

/// A rule that a canary forgets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    PresenceEnds,
    RestEnds,
    RebootEnds,
    KeyEnds,
    ScopeStays,
    UsedOnce,
}

/// What an event comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// A token that lives so long.
    Token { life: i64 },
    /// A refusal.
    Refused(RejectionCode),
    /// A token that is good, or not.
    Good(bool),
    /// Nothing is answered.
    Done,
}

#[derive(Clone, Debug)]
struct Session {
    desk: usize,
    person: bool,
    reset: u32,
    expires: i64,
    presence_ends: i64,
    last_token: i64,
    key: usize,
    wide: bool,
    ended: bool,
}

#[derive(Clone, Debug)]
struct Token {
    session: usize,
    expires: i64,
    action: bool,
    spent: bool,
    revoked: bool,
    key_ended: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Reference {
    forgotten: Option<Rule>,
    now: i64,
    resets: [u32; 2],
    desks_revoked: [bool; 2],
    keys_revoked: [bool; 2],
    sessions: Vec<Session>,
    tokens: Vec<Token>,
}

impl Reference {
    pub(crate) fn new(forgotten: Option<Rule>) -> Self {
        Self {
            forgotten,
            now: 0,
            resets: [0; 2],
            desks_revoked: [false; 2],
            keys_revoked: [false; 2],
            sessions: Vec::new(),
            tokens: Vec::new(),
        }
    }

    fn keeps(&self, rule: Rule) -> bool {
        self.forgotten != Some(rule)
    }

    /// How many sessions and tokens there were so far.
    pub(crate) fn made(&self) -> (usize, usize) {
        (self.sessions.len(), self.tokens.len())
    }

    pub(crate) fn apply(&mut self, event: &Event) -> Outcome {
        match *event {
            Event::Touch { desk, key, wide } => answer(self.start(desk, key, wide, true)),
            Event::Action { desk, key } => answer(self.start(desk, key, false, false)),
            Event::TouchAgain { desk, key, session, wide } => {
                answer(self.refresh(desk, key, session, wide))
            }
            Event::Renew { desk, session, wide } => answer(self.renew(desk, session, wide)),
            Event::Look { token } => Outcome::Good(self.good(token) && !self.used_up(token)),
            Event::Spend { token } => {
                let spent = self.spendable(token);
                self.tokens[token].spent |= spent;
                Outcome::Good(spent)
            }
            Event::Wait { seconds } => {
                self.now += seconds;
                Outcome::Done
            }
            Event::Reboot { desk } => {
                self.resets[desk] += 1;
                Outcome::Done
            }
            Event::Revoke(target) => {
                self.revoke(target);
                Outcome::Done
            }
            Event::RotateInEmergency => {
                self.tokens.iter_mut().for_each(|token| token.key_ended = true);
                Outcome::Done
            }
            Event::Rotate | Event::Certify { .. } | Event::Node { .. } | Event::Restart { .. } => {
                Outcome::Done
            }
        }
    }

    /// A machine that is revoked gets not even a challenge.
    fn live_desk(&self, desk: usize) -> Result<(), RejectionCode> {
        if self.desks_revoked[desk] { Err(RejectionCode::DeviceRevoked) } else { Ok(()) }
    }

    fn live_key(&self, key: usize) -> Result<(), RejectionCode> {
        let revoked = self.keys_revoked[key] && self.keeps(Rule::KeyEnds);
        if revoked { Err(RejectionCode::CredentialRevoked) } else { Ok(()) }
    }

    /// A session that can go on, from this machine, in its boot.
    fn alive(&self, desk: usize, id: usize) -> Result<(), RejectionCode> {
        self.live_desk(desk)?;
        let session = &self.sessions[id];
        let rested = self.now - session.last_token > 2 * TOKEN && self.keeps(Rule::RestEnds);
        let over = session.ended || session.expires <= self.now || rested || !session.person;
        if over || session.desk != desk {
            return Err(RejectionCode::SessionEnded);
        }
        if session.reset != self.resets[desk] && self.keeps(Rule::RebootEnds) {
            return Err(RejectionCode::TpmRebooted);
        }
        Ok(())
    }

    fn start(
        &mut self,
        desk: usize,
        key: usize,
        wide: bool,
        person: bool,
    ) -> Result<i64, RejectionCode> {
        self.live_desk(desk)?;
        self.live_key(key)?;
        let expires = self.now + if person { SESSION } else { ACTION };
        self.sessions.push(Session {
            desk,
            person,
            reset: self.resets[desk],
            expires,
            presence_ends: expires.min(self.now + PRESENCE),
            last_token: self.now,
            key,
            wide,
            ended: false,
        });
        Ok(self.mint(self.sessions.len() - 1))
    }

    fn refresh(
        &mut self,
        desk: usize,
        key: usize,
        id: usize,
        wide: bool,
    ) -> Result<i64, RejectionCode> {
        self.alive(desk, id)?;
        self.live_key(key)?;
        let now = self.now;
        let session = &mut self.sessions[id];
        session.presence_ends = session.expires.min(now + PRESENCE);
        session.key = key;
        session.wide = wide;
        Ok(self.mint(id))
    }

    fn renew(&mut self, desk: usize, id: usize, wide: bool) -> Result<i64, RejectionCode> {
        self.alive(desk, id)?;
        let session = &self.sessions[id];
        if session.presence_ends <= self.now && self.keeps(Rule::PresenceEnds) {
            return Err(RejectionCode::PresenceExpired);
        }
        if wide && !session.wide && self.keeps(Rule::ScopeStays) {
            return Err(RejectionCode::PresenceRequired);
        }
        self.sessions[id].wide = wide;
        Ok(self.mint(id))
    }

    fn mint(&mut self, id: usize) -> i64 {
        let session = &mut self.sessions[id];
        session.last_token = self.now;
        let life = if session.person { TOKEN } else { ACTION };
        let expires = (self.now + life).min(session.expires).min(session.presence_ends);
        self.tokens.push(Token {
            session: id,
            expires,
            action: !session.person,
            spent: false,
            revoked: false,
            key_ended: false,
        });
        expires - self.now
    }

    fn good(&self, id: usize) -> bool {
        let token = &self.tokens[id];
        let session = &self.sessions[token.session];
        self.now < token.expires + SKEW
            && !token.revoked
            && !token.key_ended
            && !session.ended
            && !self.desks_revoked[session.desk]
    }

    /// Once, while its session lasts; that has no skew.
    fn spendable(&self, id: usize) -> bool {
        let token = &self.tokens[id];
        let lasts = self.now < self.sessions[token.session].expires;
        token.action && !self.used_up(id) && lasts && self.good(id)
    }

    fn used_up(&self, id: usize) -> bool {
        self.tokens[id].spent && self.keeps(Rule::UsedOnce)
    }

    fn revoke(&mut self, target: Target) {
        match target {
            Target::Token(id) => self.tokens[id].revoked = true,
            Target::Session(id) => self.sessions[id].ended = true,
            Target::Key(key) => {
                self.keys_revoked[key] = true;
                self.end(|session| session.key == key);
            }
            Target::Desk(desk) => {
                self.desks_revoked[desk] = true;
                self.end(|session| session.desk == desk);
            }
            Target::Operator => {
                self.desks_revoked = [true; 2];
                self.keys_revoked = [true; 2];
                self.end(|_| true);
            }
            Target::Everything => self.end(|_| true),
        }
    }

    fn end(&mut self, which: impl Fn(&Session) -> bool) {
        let ended = self.sessions.iter_mut().filter(|session| which(session));
        ended.for_each(|session| session.ended = true);
    }
}

fn answer(minted: Result<i64, RejectionCode>) -> Outcome {
    minted.map_or_else(Outcome::Refused, |life| Outcome::Token { life })
}
