//! A request's body that can be sent once more: what passed is remembered up to a bound, and what did
//! not pass yet is taken back.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use http_body_util::{BodyExt, StreamBody};
use hyper::HeaderMap;
use hyper::body::{Body as HttpBody, Bytes, Frame, Incoming, SizeHint};

use super::body::{Body, BodyError};
use super::refusal::{MAX_REPLAY, Refusal};
use super::upstream::UpstreamError;

/// For the rest of a body whose approval is due.
const REST_OF_BODY: Duration = Duration::from_secs(30);

#[derive(Debug, Default)]
struct Inner {
    source: Option<Body>,
    /// Frames that passed; `None` once there were too many, or nobody wants them any more.
    passed: Option<Vec<Piece>>,
    length: usize,
    /// Who polls the first body.
    waker: Option<Waker>,
}

#[derive(Clone, Debug)]
enum Piece {
    Data(Bytes),
    Trailers(HeaderMap),
}

impl Piece {
    fn of(frame: &Frame<Bytes>) -> Option<Self> {
        let data = frame.data_ref().map(|data| Self::Data(data.clone()));
        data.or_else(|| frame.trailers_ref().map(|trailers| Self::Trailers(trailers.clone())))
    }

    fn frame(self) -> Frame<Bytes> {
        match self {
            Self::Data(data) => Frame::data(data),
            Self::Trailers(trailers) => Frame::trailers(trailers),
        }
    }

    fn length(&self) -> usize {
        match self {
            Self::Data(data) => data.len(),
            // Names and values, and 32 bytes each as HTTP/2 counts them.
            Self::Trailers(trailers) => {
                trailers.iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum()
            }
        }
    }
}

/// Holds on to a body while it is sent.
#[derive(Clone, Debug)]
pub(super) struct Replay {
    inner: Arc<Mutex<Inner>>,
    /// The tool broke it off.
    broken: Arc<AtomicBool>,
}

/// The body as it is sent for the first time.
struct First {
    shared: Replay,
    hint: SizeHint,
    ended: bool,
}

/// A whole body.
pub(super) struct Whole {
    pub(super) bytes: Bytes,
    trailers: Option<HeaderMap>,
}

impl Replay {
    /// The body to send, and the hold on it.
    pub(super) fn of(source: Incoming) -> (Self, Body) {
        let (hint, ended) = (source.size_hint(), source.is_end_stream());
        // What cannot be kept is not kept to a half.
        let keep = hint.lower() <= MAX_REPLAY as u64;
        let broken = Arc::new(AtomicBool::new(false));
        let tell = Arc::clone(&broken);
        let source = source.map_err(move |error| {
            tell.store(true, Ordering::Relaxed);
            BodyError::from(error)
        });
        let source = Some(source.boxed_unsync());
        let inner = Inner { source, passed: keep.then(Vec::new), length: 0, waker: None };
        let replay = Self { inner: Arc::new(Mutex::new(inner)), broken };
        let first = First { shared: replay.clone(), hint, ended };
        (replay, first.boxed_unsync())
    }

    /// Nothing will be sent again: from now on nothing is remembered.
    pub(super) fn forget(&self) {
        self.inner(|inner| inner.passed = None);
    }

    /// What to tell a tool whose request did not get through.
    pub(super) fn refusal(&self, error: UpstreamError) -> Refusal {
        match self.broken.load(Ordering::Relaxed) {
            true => Refusal::BodyBroken,
            false => error.into(),
        }
    }

    fn inner<T>(&self, with: impl FnOnce(&mut Inner) -> T) -> T {
        with(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The body from its beginning, the rest of it as it comes; `None` when too much has passed. The
    /// first body ends with an error.
    pub(super) fn again(&self) -> Option<Body> {
        let (source, passed, waker) =
            self.inner(|inner| (inner.source.take(), inner.passed.take(), inner.waker.take()));
        if let Some(waker) = waker {
            waker.wake();
        }
        let (source, passed) = (source?, passed?);
        if passed.is_empty() {
            // With its own length: none is not sent in chunks.
            return Some(source);
        }
        let passed = passed.into_iter().map(|piece| Ok(piece.frame()));
        let passed = StreamBody::new(futures_util::stream::iter(passed));
        Some(Chain { first: Some(passed.boxed_unsync()), rest: source }.boxed_unsync())
    }

    /// The whole body, awaited within a time and a bound.
    pub(super) async fn whole(&self) -> Result<Whole, Refusal> {
        let mut body = self.again().ok_or(Refusal::TooLarge)?;
        let collect = async {
            let mut bytes = Vec::new();
            let mut trailers = None;
            while let Some(frame) = body.frame().await {
                let frame = frame.map_err(|_| Refusal::BodyBroken)?;
                match frame.into_data() {
                    Ok(data) if bytes.len() + data.len() > MAX_REPLAY => {
                        return Err(Refusal::TooLarge);
                    }
                    Ok(data) => bytes.extend_from_slice(&data),
                    Err(frame) => trailers = frame.into_trailers().ok(),
                }
            }
            Ok(Whole { bytes: bytes.into(), trailers })
        };
        tokio::time::timeout(REST_OF_BODY, collect).await.map_err(|_| Refusal::BodyTooSlow)?
    }
}

impl Whole {
    /// It, to be sent.
    pub(super) fn body(self) -> Body {
        match self.trailers {
            None => super::body::full(self.bytes),
            Some(trailers) => {
                let frames = [Ok(Frame::data(self.bytes)), Ok(Frame::trailers(trailers))];
                StreamBody::new(futures_util::stream::iter(frames)).boxed_unsync()
            }
        }
    }
}

impl HttpBody for First {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let polled = self.shared.inner(|inner| {
            let Some(source) = &mut inner.source else {
                return Poll::Ready(Some(Err("the body was taken back".into())));
            };
            let polled = Pin::new(source).poll_frame(context);
            inner.waker = Some(context.waker().clone());
            if let Poll::Ready(Some(Ok(frame))) = &polled
                && let Some(piece) = Piece::of(frame)
            {
                inner.length = inner.length.saturating_add(piece.length());
                if inner.length > MAX_REPLAY {
                    inner.passed = None;
                }
                if let Some(passed) = &mut inner.passed {
                    passed.push(piece);
                }
            }
            polled
        });
        self.ended |= matches!(polled, Poll::Ready(None));
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }

    fn size_hint(&self) -> SizeHint {
        self.hint
    }
}

/// What passed, and then the rest.
struct Chain {
    first: Option<Body>,
    rest: Body,
}

impl HttpBody for Chain {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(first) = &mut self.first {
            match Pin::new(first).poll_frame(context) {
                Poll::Ready(None) => self.first = None,
                polled => return polled,
            }
        }
        Pin::new(&mut self.rest).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.rest.is_end_stream()
    }
}
