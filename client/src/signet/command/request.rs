//! `signet request`.

use std::process::ExitCode;

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use reqwest::{Client, Method, Response, StatusCode};
use signet_client::Tokens;
use signet_client::approval::action_for;
use signet_client::authority::{https_client, printable};
use signet_client::step_up::{BearerChallenge, StepUp};
use signet_client::tokens::{AccessToken, LoginTerms};
use signet_evidence::action::content_digest;
use zeroize::Zeroizing;

use super::{Context, answer, approve, files};
use crate::cli::Request;
use crate::failure::Failure;

/// Largest answer that is read.
const MAX_ANSWER: usize = 64 * 1024 * 1024;

/// A request that may have to be sent twice.
struct Exchange<'a> {
    context: &'a Context,
    options: &'a Request,
    http: Client,
    body: Vec<u8>,
    origin: String,
}

pub(super) async fn run(context: &Context, options: &Request) -> Result<ExitCode, Failure> {
    let body = files::body(options.target.body.as_deref())?;
    let given = options.action_token.as_deref().map(files::token).transpose()?;
    let ca = options.cacert.as_ref().or(context.settings.gateway_ca.as_ref());
    let anchors = ca.map(|path| files::anchors(path)).transpose()?;
    let tokens = context.tokens().await?;
    let http = https_client(tokens.workstation().tls_towards(anchors.as_deref())?)?;
    let origin = options.target.url.origin().ascii_serialization();
    let exchange = Exchange { context, options, http, body, origin };
    let token = match given {
        Some(token) => Some(token),
        None if options.no_token => None,
        None => Some(tokens.current().await?.access_token),
    };
    let mut response = exchange.send(token.as_ref()).await?;
    let may_step_up = !options.no_step_up && !options.no_token && options.action_token.is_none();
    if may_step_up
        && matches!(response.status(), StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
        && let Some(token) = exchange.step_up(&tokens, &response).await?
    {
        response = exchange.send(Some(&token)).await?;
    }
    exchange.print(response).await
}

impl Exchange<'_> {
    async fn send(&self, token: Option<&AccessToken>) -> Result<Response, Failure> {
        let target = &self.options.target;
        // The method was checked to be letters when the command line was read.
        let method = Method::from_bytes(target.method.as_bytes()).unwrap_or(Method::GET);
        let mut headers = HeaderMap::new();
        for (name, value) in &self.options.header {
            if let (Ok(name), Ok(value)) = (name.parse(), value.parse::<HeaderValue>()) {
                let name: reqwest::header::HeaderName = name;
                headers.append(name, value);
            }
        }
        if !self.body.is_empty()
            && !headers.contains_key("content-digest")
            && let Ok(digest) = content_digest(&self.body).parse()
        {
            headers.insert("content-digest", digest);
        }
        if let Some(token) = token {
            let text = Zeroizing::new(format!("Bearer {}", token.secret()));
            let mut value = HeaderValue::from_str(&text).map_err(|_| Failure::NotAToken)?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        let mut request = self.http.request(method, target.url.clone()).headers(headers);
        if !self.body.is_empty() {
            request = request.body(self.body.clone());
        }
        request.send().await.map_err(|source| self.unreachable(source))
    }

    /// The token that the gateway asks for, by a touch or a login; `None` when it wants none.
    async fn step_up(
        &self,
        tokens: &Tokens,
        response: &Response,
    ) -> Result<Option<AccessToken>, Failure> {
        let headers = response.headers().get_all(WWW_AUTHENTICATE);
        let challenges =
            headers.iter().filter_map(|value| BearerChallenge::parse(value.to_str().ok()?));
        let wanted = challenges.into_iter().find_map(|challenge| {
            let step_up = challenge.step_up()?;
            Some((step_up, challenge.description.unwrap_or_default()))
        });
        let Some((step_up, description)) = wanted else { return Ok(None) };
        match step_up {
            StepUp::Action { names } => self.approve(tokens, names).await.map(Some),
            StepUp::Presence { acr_values, scope } => {
                let say = "The gateway wants you to prove your presence anew.";
                self.context.output.say(None, say);
                if !description.is_empty() {
                    // Such as which kind of key is due, which no level says.
                    self.context.output.say(None, &printable(&description));
                }
                // Rights are added to those of the session; a session without a list has them all.
                let had = tokens.load().ok().and_then(|record| record.scope);
                let scope = had.map(|had| widened(&had, &scope));
                let terms = LoginTerms {
                    scope: scope.as_deref(),
                    acr: acr_values.first().map(String::as_str),
                    new_session: false,
                    means: self.context.means(self.options.by),
                };
                Ok(Some(tokens.log_in(terms, &self.context.terminal).await?.access_token))
            }
        }
    }

    async fn approve(&self, tokens: &Tokens, named: Vec<String>) -> Result<AccessToken, Failure> {
        let options = self.options;
        let names = if options.action.is_empty() { named } else { options.action.clone() };
        if names.is_empty() {
            return Err(Failure::ActionUnnamed);
        }
        let target = &options.target;
        let action = action_for(&target.method, &target.url, &self.body, &names)?;
        self.context.output.say(None, "The gateway wants a touch for this very request.");
        approve::show(self.context.output, &action);
        let workstation = tokens.workstation();
        let means = self.context.means(options.by);
        let terminal = &self.context.terminal;
        let response = workstation.approve(action.as_bytes(), None, means, terminal).await?;
        Ok(response.access_token)
    }

    /// Prints the answer; the exit code says which kind it is.
    async fn print(&self, mut response: Response) -> Result<ExitCode, Failure> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|source| self.unreachable(source))? {
            if body.len() + chunk.len() > MAX_ANSWER {
                let origin = self.origin.clone();
                return Err(Failure::AnswerTooLarge { origin, limit: MAX_ANSWER });
            }
            body.extend_from_slice(&chunk);
        }
        answer::print(self.context.output, response.status(), response.headers(), &body)
    }

    fn unreachable(&self, source: reqwest::Error) -> Failure {
        Failure::gateway(self.origin.clone(), source)
    }
}

/// The words of both, each once.
fn widened(had: &str, due: &[String]) -> String {
    let mut words: Vec<&str> = had.split(' ').filter(|word| !word.is_empty()).collect();
    words.extend(due.iter().map(String::as_str));
    let mut seen = std::collections::HashSet::new();
    words.retain(|word| seen.insert(*word));
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_are_added_once() {
        assert_eq!(widened("a b", &["b".into(), "c".into()]), "a b c");
        assert_eq!(widened("", &["c".into()]), "c");
    }
}
