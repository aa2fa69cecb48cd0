//! One request: with a token to the gateway, and once more with a better one where the gateway asks for
//! the person.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http_body_util::BodyExt;
use hyper::body::{Body as HttpBody, Bytes, Frame, Incoming, SizeHint};
use hyper::header::{AUTHORIZATION, CONNECTION, CONTENT_LENGTH, HeaderName, HeaderValue, UPGRADE};
use hyper::upgrade::OnUpgrade;
use hyper::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use signet_evidence::action::content_digest;
use tokio::sync::watch;
use zeroize::Zeroizing;

use super::body::{Body, BodyError, full};
use super::headers::{View, to_gateway, to_tool, upgrade};
use super::machine::Machine;
use super::refusal::{REST, Refusal};
use super::replay::Replay;
use super::serve::Seat;
use super::target::Target;
use super::upstream::{Hold, Upstream, UpstreamError};
use super::{Proxy, ending};
use crate::ceremony::{Attendant, CannotAsk, Question};
use crate::daemon::{DaemonRefusal, Step};
use crate::demand::{Announcement, Demand, DemandError, Demanded};
use crate::step_up::StepUp;
use crate::tokens::{AccessToken, BoundToken};
use crate::workstation::PresenceError;

/// The head of a request as it goes on, but for the token.
struct Head {
    method: Method,
    path: Uri,
    headers: HeaderMap,
    upgrade: Option<HeaderValue>,
}

impl Head {
    fn request(&self, token: &AccessToken, body: Body) -> Result<Request<Body>, Refusal> {
        let mut request = Request::new(body);
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.path.clone();
        *request.headers_mut() = self.headers.clone();
        let headers = request.headers_mut();
        if let Some(protocol) = &self.upgrade {
            headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
            headers.insert(UPGRADE, protocol.clone());
        }
        let value = token.authorization();
        let value = value.map_err(|_| Refusal::Malformed("the token is none"))?;
        headers.insert(AUTHORIZATION, value);
        Ok(request)
    }
}

impl<A: Attendant + Send + 'static> Proxy<A> {
    /// Sends a request to its target.
    pub(super) async fn exchange(
        self: &Arc<Self>,
        target: usize,
        view: &View,
        path: &str,
        mut request: Request<Incoming>,
        seat: &Seat,
    ) -> Result<Response<Body>, Refusal> {
        let (machine, token) = self.session().await?;
        let upstream = machine.connections().upstream(target, &token);
        let mut upstream = upstream.ok_or(Refusal::WhichTarget)?;
        let origin = upstream.target().origin();
        let path = path.parse().map_err(|_| Refusal::Malformed("the path is none"))?;
        let tool = Some(hyper::upgrade::on(&mut request));
        let (parts, body) = request.into_parts();
        let mut headers = parts.headers;
        let upgrade = upgrade(&headers);
        to_gateway(&mut headers, parts.version, view, &origin);
        let head = Head { method: parts.method, path, headers, upgrade };
        let (replay, body) = Replay::of(body);
        let changes = head.upgrade.is_some();
        let sent = upstream.send(head.request(&token.token, body)?, changes);
        let (mut response, mut hold) = sent.await.map_err(|error| replay.refusal(error))?;
        let demand = Demand::of(response.status(), response.headers());
        match demand.filter(|_| self.options.step_up) {
            None => replay.forget(),
            Some(demand) => {
                drop((response, hold));
                let is_action = matches!(demand.step_up, StepUp::Action { .. });
                let (token, head, body) = self
                    .step_up(&machine, upstream.target(), demand, &token.token, head, &replay)
                    .await?;
                let better = match is_action {
                    true => machine.connections().once(target, &token),
                    false => machine.connections().upstream(target, &token),
                };
                upstream = better.ok_or(Refusal::WhichTarget)?;
                let sent = upstream.send(head.request(&token.token, body)?, changes);
                (response, hold) = sent.await.map_err(|error| replay.refusal(error))?;
            }
        }
        let version = response.version();
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return self.changed(response, tool.filter(|_| changes), &upstream, seat);
        }
        to_tool(response.headers_mut(), version, view, &origin);
        if response.body().size_hint().exact().is_none() {
            // A length beside chunks is none (RFC 9112 §6.3).
            response.headers_mut().remove(CONTENT_LENGTH);
        }
        Ok(response.map(|body| Answer { body, _hold: hold }.boxed_unsync()))
    }

    /// The token that is demanded, and the request to send with it.
    async fn step_up(
        self: &Arc<Self>,
        machine: &Arc<Machine>,
        target: &Target,
        demand: Demand,
        used: &AccessToken,
        mut head: Head,
        replay: &Replay,
    ) -> Result<(BoundToken, Head, Body), Refusal> {
        let url = target.url(&head.path.to_string());
        // What a URL parser tidies up would be approved otherwise than it is sent.
        let url = url.filter(|url| url.as_str().ends_with(&head.path.to_string()));
        let url = url.ok_or(Refusal::Malformed("the path is not in the form that is approved"))?;
        let is_action = matches!(demand.step_up, StepUp::Action { .. });
        let whole = match is_action {
            true => Some(replay.whole().await?),
            false => None,
        };
        let bytes = whole.as_ref().map(|whole| whole.bytes.clone()).unwrap_or_default();
        let used = (!is_action).then(|| used.clone());
        let asked = Asked { demand, method: head.method.to_string(), url, body: bytes.clone() };
        let token = self.ask(Arc::clone(machine), asked, used).await?;
        let body = match whole {
            Some(whole) => {
                let name = HeaderName::from_static("content-digest");
                if !bytes.is_empty()
                    && !head.headers.contains_key(&name)
                    && let Ok(digest) = HeaderValue::from_str(&content_digest(&bytes))
                {
                    head.headers.insert(name, digest);
                }
                whole.body()
            }
            None => replay.again().ok_or(Refusal::SendAgain)?,
        };
        Ok((token, head, body))
    }

    /// Asks the person, one question at a time. A session token that came meanwhile, by another
    /// request's question, serves; and after a no there is rest.
    async fn ask(
        self: &Arc<Self>,
        machine: Arc<Machine>,
        asked: Asked,
        used: Option<AccessToken>,
    ) -> Result<BoundToken, Refusal> {
        let turn = Arc::clone(&self.asking).lock_owned().await;
        let tokens = machine.tokens();
        // One of the other kind tells of a touch too: then a renewal brings ours.
        if let (Some(used), Ok(now)) = (used, tokens.load())
            && used != now.access_token
            && let Ok(now) = tokens.current().await
        {
            return Ok(now.bound_token());
        }
        if turn.is_some_and(|refused: Instant| refused.elapsed() < Duration::from_secs(REST)) {
            return Err(Refusal::Resting);
        }
        // A tool that goes away takes its question with it; `signetd` hears that.
        let (stays, gone) = watch::channel(());
        let attendant = Beside { person: Arc::clone(&self.attendant), gone };
        let means = self.options.means;
        let question = tokio::spawn(async move {
            let mut turn = turn;
            let demanded = Demanded {
                method: &asked.method,
                url: &asked.url,
                body: &asked.body,
                actions: &[],
                means,
            };
            let answer = machine.tokens().satisfy_bound(&asked.demand, demanded, &attendant).await;
            if answer.as_ref().is_err_and(was_refused) {
                *turn = Some(Instant::now());
            }
            answer
        });
        let answer = question.await.map_err(|_| Refusal::Ending)?;
        drop(stays);
        Ok(answer?)
    }

    /// Carries what the two sides say after they changed protocols.
    fn changed(
        &self,
        mut response: Response<Incoming>,
        tool: Option<OnUpgrade>,
        upstream: &Arc<Upstream>,
        seat: &Seat,
    ) -> Result<Response<Body>, Refusal> {
        let Some(tool) = tool else {
            let origin = upstream.target().origin();
            let source = "it changed protocols unasked".into();
            return Err(UpstreamError::Failed { origin, source }.into());
        };
        let gateway = hyper::upgrade::on(&mut response);
        let protocol = response.headers().get(UPGRADE).cloned();
        let (end, seat) = (self.end.clone(), Arc::clone(seat));
        tokio::spawn(async move {
            let _seat = seat;
            let carried = async {
                let (tool, gateway) = tokio::try_join!(tool, gateway).ok()?;
                let (mut tool, mut gateway) = (TokioIo::new(tool), TokioIo::new(gateway));
                tokio::io::copy_bidirectional(&mut tool, &mut gateway).await.ok()
            };
            tokio::select! {
                _ = carried => {}
                () = ending(end) => {}
            }
        });
        let mut answer = Response::new(full(""));
        *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        *answer.headers_mut() = response.headers().clone();
        answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));
        if let Some(protocol) = protocol {
            answer.headers_mut().insert(UPGRADE, protocol);
        }
        Ok(answer)
    }
}

/// Whether the person said no, or did not come: then they are left in peace for a while.
fn was_refused(error: &DemandError) -> bool {
    let Some(PresenceError::Ceremony(error)) = error.presence() else { return false };
    matches!(error.refusal(), Some(DaemonRefusal::Cancelled | DaemonRefusal::TimedOut))
}

/// What the person is asked for.
struct Asked {
    demand: Demand,
    method: String,
    url: reqwest::Url,
    body: Bytes,
}

/// Whoever stands between us and the person, for as long as the tool waits.
struct Beside<A> {
    person: Arc<A>,
    gone: watch::Receiver<()>,
}

impl<A: Attendant + Send> Attendant for Beside<A> {
    fn begin(&self) {
        self.person.begin();
    }

    fn has_secrets(&self) -> bool {
        self.person.has_secrets()
    }

    fn done(&self) {
        self.person.done();
    }

    fn show(&self, step: &Step) {
        self.person.show(step);
    }

    fn warn(&self, warnings: &[String]) {
        self.person.warn(warnings);
    }

    fn announce(&self, announcement: Announcement<'_>) {
        self.person.announce(announcement);
    }

    fn secret(
        &self,
        question: Question,
    ) -> impl Future<Output = Result<Zeroizing<String>, CannotAsk>> + Send {
        self.person.secret(question)
    }

    async fn interrupted(&self) {
        let mut gone = self.gone.clone();
        tokio::select! {
            () = self.person.interrupted() => {}
            // Nothing is ever sent: it ends when the other side is dropped.
            _ = gone.changed() => {}
        }
    }
}

/// An answer's body, with what it holds.
struct Answer {
    body: Incoming,
    _hold: Hold,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        Pin::new(&mut self.body).poll_frame(context).map_err(BodyError::from)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
