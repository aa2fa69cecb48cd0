//! Spans to a collector: OTLP over HTTP, in batches, beside the requests.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use signet_evidence::thumbprint::hex;
use thiserror::Error;
use tokio::sync::{mpsc, watch};

use super::otlp::{self, Span};
use super::span::SpanLayer;
use crate::config::TelemetrySettings;
use crate::keys::{KeyError, read_certificates};
use crate::metrics::Metrics;
use crate::random;
use crate::tls::outgoing;

/// Spans that wait for the exporter.
const QUEUE: usize = 8192;
/// Spans of one request to the collector.
const BATCH: usize = 512;
/// How long a span waits for others.
const GATHER: Duration = Duration::from_secs(1);
/// How long the collector may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Spans that nobody will see.
#[derive(Clone, Debug, Default)]
pub(super) struct Dropped(Arc<AtomicU64>);

impl Dropped {
    pub(super) fn one(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn take(&self) -> u64 {
        self.0.swap(0, Ordering::Relaxed)
    }
}

/// Spans cannot be exported.
#[derive(Debug, Error)]
pub enum ExporterError {
    /// The CAs of the collector's certificate.
    #[error("the CAs for the collector's certificate cannot be used")]
    Roots(#[from] KeyError),
    /// TLS.
    #[error("cannot set up TLS for the collector")]
    Tls(#[from] rustls::Error),
    /// HTTP.
    #[error("cannot set up HTTP for the collector")]
    Http(#[from] reqwest::Error),
}

/// Sends what a [`SpanLayer`] hands over.
#[derive(Debug)]
pub struct Exporter {
    url: String,
    client: reqwest::Client,
    instance: String,
    queue: mpsc::Receiver<Span>,
    dropped: Dropped,
}

/// A layer, and the exporter that it feeds.
///
/// # Errors
/// See [`ExporterError`].
pub fn layer(settings: &TelemetrySettings) -> Result<(SpanLayer, Exporter), ExporterError> {
    let cas = match settings.otlp_endpoint.is_https() {
        true => read_certificates(&settings.roots)?,
        false => Vec::new(),
    };
    let client = reqwest::Client::builder()
        .tls_backend_preconfigured(outgoing(cas)?)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .timeout(TIMEOUT)
        .build()?;
    let url = format!("{}/v1/traces", settings.otlp_endpoint.as_str().trim_end_matches('/'));
    let (sender, queue) = mpsc::channel(QUEUE);
    let dropped = Dropped::default();
    let layer = SpanLayer { queue: sender, dropped: dropped.clone() };
    let instance = hex(&random::bytes::<8>());
    Ok((layer, Exporter { url, client, instance, queue, dropped }))
}

impl Exporter {
    /// Sends until `stop` becomes true, and then what is left.
    pub async fn run(mut self, metrics: Arc<Metrics>, mut stop: watch::Receiver<bool>) {
        let mut batch = Vec::with_capacity(BATCH);
        let mut failing = false;
        loop {
            let stopping = self.gather(&mut batch, &mut stop).await;
            metrics.spans("dropped", self.dropped.take());
            if !batch.is_empty() {
                let count = batch.len() as u64;
                match self.send(&batch).await {
                    Ok(()) => {
                        metrics.spans("exported", count);
                        failing = false;
                    }
                    Err(error) => {
                        metrics.spans("failed", count);
                        // Once for each outage: spans are not worth a log full of this.
                        if !std::mem::replace(&mut failing, true) {
                            let url = &self.url;
                            tracing::warn!(url, %error, "spans cannot be exported");
                        }
                    }
                }
                batch.clear();
            }
            if stopping && self.queue.is_empty() {
                return;
            }
        }
    }

    /// What is there, up to a batch; whether the end has come.
    async fn gather(&mut self, batch: &mut Vec<Span>, stop: &mut watch::Receiver<bool>) -> bool {
        let gather = async {
            while batch.len() < BATCH {
                let room = BATCH - batch.len();
                if self.queue.recv_many(batch, room).await == 0 {
                    break;
                }
            }
        };
        tokio::select! {
            _ = tokio::time::timeout(GATHER, gather) => false,
            _ = stop.wait_for(|stop| *stop) => {
                while batch.len() < BATCH && let Ok(span) = self.queue.try_recv() {
                    batch.push(span);
                }
                true
            }
        }
    }

    async fn send(&self, batch: &[Span]) -> Result<(), reqwest::Error> {
        let body = otlp::request(batch, &self.instance);
        self.client.post(&self.url).json(&body).send().await?.error_for_status().map(|_| ())
    }
}
