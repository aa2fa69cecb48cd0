//! Tasks that look at something again and again until the authority stops.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Interval, MissedTickBehavior};

use crate::store::Store;

/// One task's rounds.
pub(crate) struct Rounds {
    ticks: Interval,
    news: Option<watch::Receiver<u64>>,
    stop: watch::Receiver<bool>,
}

impl Rounds {
    /// A round at once and every so often, until `stop` becomes true. One that takes long delays the
    /// next, and is not made up for.
    pub(crate) fn every(often: Duration, stop: watch::Receiver<bool>) -> Self {
        let mut ticks = tokio::time::interval(often);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { ticks, news: None, stop }
    }

    /// Another round as soon as somebody else has written to `store`.
    pub(crate) fn and_at_news_of(mut self, store: &dyn Store) -> Self {
        self.news = Some(store.news());
        self
    }

    /// Waits for the next round; false when there is none any more.
    pub(crate) async fn next(&mut self) -> bool {
        let Self { ticks, news, stop } = self;
        let told = async {
            let heard = match news {
                Some(news) => news.changed().await.is_ok(),
                None => false,
            };
            if !heard {
                // Nothing will be told.
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            _ = ticks.tick() => true,
            () = told => true,
            _ = stop.wait_for(|stop| *stop) => false,
        }
    }
}
