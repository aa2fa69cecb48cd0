//! `signet request`.

use std::process::ExitCode;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::{Client, Method, Response};
use signet_client::Tokens;
use signet_client::authority::https_client;
use signet_client::demand::{Demand, Demanded};
use signet_client::tokens::BoundToken;
use signet_evidence::action::content_digest;

use super::{Context, answer, files};
use crate::cli::Request;
use crate::failure::Failure;

/// Largest answer that is read.
const MAX_ANSWER: usize = 64 * 1024 * 1024;

/// A request that may have to be sent twice.
struct Exchange<'a> {
    context: &'a Context,
    options: &'a Request,
    tokens: &'a Tokens,
    /// Shows the machine's certificate.
    http: Client,
    anchors: Option<Vec<Vec<u8>>>,
    body: Vec<u8>,
    origin: String,
}

pub(super) async fn run(context: &Context, options: &Request) -> Result<ExitCode, Failure> {
    let body = files::body(options.target.body.as_deref())?;
    let given = options.action_token.as_deref().map(files::token).transpose()?;
    let ca = options.cacert.as_ref().or(context.settings.gateway_ca.as_ref());
    let anchors = ca.map(|path| files::anchors(path)).transpose()?;
    let tokens = match options.as_operator {
        true => context.tokens().await?.as_operator(),
        false => context.tokens().await?,
    };
    let origin = options.target.url.origin().ascii_serialization();
    let http = https_client(tokens.workstation().tls_towards(anchors.as_deref())?)?;
    let exchange = Exchange { context, options, tokens: &tokens, http, anchors, body, origin };
    let token = match given {
        Some(token) => Some(BoundToken { token, certificate: Vec::new(), life: Duration::ZERO }),
        None if options.no_token => None,
        None => Some(tokens.current().await?.bound_token()),
    };
    let mut response = exchange.send(token.as_ref()).await?;
    let may_step_up = !options.no_step_up && !options.no_token && options.action_token.is_none();
    if may_step_up && let Some(demand) = Demand::of(response.status(), response.headers()) {
        let demanded = Demanded {
            method: &options.target.method,
            url: &options.target.url,
            body: &exchange.body,
            actions: &options.action,
            means: context.means(options.by),
        };
        let token = tokens.satisfy_bound(&demand, demanded, &context.terminal).await?;
        response = exchange.send(Some(&token)).await?;
    }
    exchange.print(response).await
}

impl Exchange<'_> {
    async fn send(&self, token: Option<&BoundToken>) -> Result<Response, Failure> {
        let http = self.client(token)?;
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
            let value = token.token.authorization().map_err(|_| Failure::NotAToken)?;
            headers.insert(AUTHORIZATION, value);
        }
        let mut request = http.request(method, target.url.clone()).headers(headers);
        if !self.body.is_empty() {
            request = request.body(self.body.clone());
        }
        request.send().await.map_err(|source| self.unreachable(source))
    }

    /// Each certificate has connections of its own.
    fn client(&self, token: Option<&BoundToken>) -> Result<Client, Failure> {
        match token {
            Some(bound) if !bound.certificate.is_empty() => {
                let workstation = self.tokens.workstation();
                let tls = workstation.tls_with(&bound.certificate, self.anchors.as_deref())?;
                Ok(https_client(tls)?)
            }
            _ => Ok(self.http.clone()),
        }
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
