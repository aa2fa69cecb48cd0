//! Three authorities (the real program) on one PostgreSQL, and gateways that ask them.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use reqwest::StatusCode;
use serde_json::Value;
use signet_authority::store::{AuditRecord, SessionKind, Store};
use tokio::task::JoinSet;

use crate::house::{House, Machine};
use crate::postgres::Cluster;

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_signet-authority");
/// How long a service may take to come back by itself.
const BACK: Duration = Duration::from_secs(60);

/// One serving process; it dies with the test.
pub(crate) struct Node {
    child: Child,
    pub(crate) clients: String,
    pub(crate) gateways: String,
}

impl Node {
    pub(crate) fn start(house: &House) -> Self {
        let mut command = Command::new(PROGRAM);
        command.arg("serve").arg("--config").arg(house.settings_file());
        command.env("SIGNET_LOG", "info").env("NO_COLOR", "1").stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut seen = String::new();
        let ready = loop {
            let line = log.next().unwrap_or_else(|| panic!("{seen}")).unwrap();
            if line.contains("ready clients=") {
                break line;
            }
            seen.push_str(&line);
            seen.push('\n');
        };
        // Whoever writes the log must not wait for a reader.
        std::thread::spawn(move || log.map_while(Result::ok).for_each(drop));
        let address = |name: &str| {
            let (_, rest) = ready.split_once(name).unwrap();
            let port = rest.split(' ').next().unwrap().rsplit(':').next().unwrap();
            format!("https://localhost:{port}")
        };
        Self { clients: address("clients="), gateways: address("gateways="), child }
    }

    /// As a crash does.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a gateway was told of a single-use token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    Active,
    Inactive,
    /// 503 with Retry-After.
    Later,
    /// Nobody listens there.
    NobodyThere,
}

/// A single-use token and its id.
#[derive(Clone)]
pub(crate) struct Once {
    pub(crate) token: String,
    pub(crate) id: String,
}

pub(crate) struct Stage {
    pub(crate) house: House,
    pub(crate) nodes: Vec<Node>,
    pub(crate) machine: Machine,
    gateway: reqwest::Client,
    stranger: reqwest::Client,
}

impl Stage {
    /// Over the database of this URL; this process is a node more, which makes what the test needs.
    pub(crate) async fn set(url: &str) -> Self {
        Self::in_house(House::on(url).await).await
    }

    /// The same with these limits.
    pub(crate) async fn limited(url: &str, limits: &str) -> Self {
        Self::in_house(House::with_limits_on(limits, Some(url)).await).await
    }

    async fn in_house(house: House) -> Self {
        let nodes = (0..3).map(|_| Node::start(&house)).collect();
        let machine = house.machine("alice").await;
        let (gateway, stranger) = (house.gateway("edge"), house.stranger());
        Self { house, nodes, machine, gateway, stranger }
    }

    pub(crate) async fn once(&self) -> Once {
        let token = self.house.token(&self.machine, SessionKind::Action).await;
        let payload = token.split('.').nth(1).unwrap();
        let claims: Value = serde_json::from_slice(&decode(payload)).unwrap();
        Once { id: claims["jti"].as_str().unwrap().to_owned(), token }
    }

    pub(crate) async fn many(&self, count: usize) -> Vec<Once> {
        let mut all = Vec::new();
        for _ in 0..count {
            all.push(self.once().await);
        }
        all
    }

    /// Asks one node to use up a token.
    pub(crate) async fn redeem(&self, node: usize, once: &Once) -> Told {
        let peer = self.machine.thumbprint().to_hex();
        redeem(&self.gateway, &self.nodes[node].gateways, once, &peer).await
    }

    /// Asks all nodes to use up all tokens, `times` each, at the same time.
    pub(crate) fn redeem_all(&self, tokens: &[Once], times: usize) -> JoinSet<Vec<(Once, Told)>> {
        let mut asking = JoinSet::new();
        for node in &self.nodes {
            for _ in 0..times {
                let (gateway, address) = (self.gateway.clone(), node.gateways.clone());
                let (tokens, peer) = (tokens.to_vec(), self.machine.thumbprint().to_hex());
                asking.spawn(async move {
                    let mut told = Vec::new();
                    for once in tokens {
                        let answer = redeem(&gateway, &address, &once, &peer).await;
                        told.push((once, answer));
                    }
                    told
                });
            }
        }
        asking
    }

    /// How many policies a node has taken over from the store since it started.
    pub(crate) async fn policies(&self, node: usize) -> u64 {
        let url = format!("{}/metrics", self.nodes[node].gateways);
        let text = self.gateway.get(url).send().await.unwrap().text().await.unwrap();
        let counts =
            text.lines().filter(|line| line.starts_with("signet_policy_activations_total"));
        counts.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
    }

    /// Returns once this node has told a verifier of a checkpoint of so many records.
    pub(crate) async fn until_told(&self, node: usize, size: u64) {
        let url = format!("{}/v1/events", self.nodes[node].gateways);
        let mut stream = self.gateway.get(url).send().await.unwrap();
        let mut text = String::new();
        loop {
            let chunk = stream.chunk().await.unwrap().unwrap();
            text.push_str(std::str::from_utf8(&chunk).unwrap());
            while let Some((event, rest)) = text.clone().split_once("\n\n") {
                rest.clone_into(&mut text);
                if event.contains("\nevent: checkpoint\n") {
                    let (_, data) = event.split_once("\ndata: ").unwrap();
                    let told: Value = serde_json::from_str(data).unwrap();
                    if told["size"].as_u64().unwrap() >= size {
                        return;
                    }
                }
            }
        }
    }

    /// The status of `/readyz`.
    pub(crate) async fn ready(&self, node: usize) -> Option<StatusCode> {
        let url = format!("{}/readyz", self.nodes[node].clients);
        self.stranger.get(url).send().await.ok().map(|answer| answer.status())
    }

    /// Returns once `/readyz` of every node says so.
    pub(crate) async fn until_ready(&self) {
        self.until(StatusCode::OK).await;
    }

    async fn until(&self, wanted: StatusCode) {
        let start = Instant::now();
        for node in 0..self.nodes.len() {
            while self.ready(node).await != Some(wanted) {
                assert!(start.elapsed() < BACK, "node {node} is not {wanted}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }

    /// Returns once every node says that it cannot decide, to gateways and to the load balancer.
    pub(crate) async fn until_down(&self, once: &Once) {
        let start = Instant::now();
        for node in 0..self.nodes.len() {
            let down = async || {
                self.redeem(node, once).await == Told::Later
                    && self.ready(node).await == Some(StatusCode::SERVICE_UNAVAILABLE)
            };
            while !down().await {
                assert!(start.elapsed() < BACK, "node {node} decides still");
            }
        }
    }

    /// Every record; the log has a leaf for each.
    pub(crate) async fn records(&self) -> Vec<AuditRecord> {
        records(self.house.authority.store.as_ref()).await
    }

    /// No token was used twice, and each use is on record: once where it was told, and at most once
    /// where the answer was lost.
    pub(crate) async fn check(&self, told: &[(Once, Told)]) {
        let records = self.records().await;
        let mut ids: Vec<&str> = told.iter().map(|(once, _)| once.id.as_str()).collect();
        ids.sort_unstable();
        ids.dedup();
        for id in ids {
            let active = told.iter().filter(|(once, told)| once.id == id && *told == Told::Active);
            let on_record = records.iter().filter(|record| {
                (record.event.as_str(), record.decision.as_str()) == ("redeem", "allowed")
                    && record.token.as_deref() == Some(id)
            });
            let (active, on_record) = (active.count(), on_record.count());
            assert!(
                active <= on_record && on_record <= 1,
                "{id}: {active} told, {on_record} on record"
            );
        }
    }
}

pub(crate) async fn records(store: &dyn Store) -> Vec<AuditRecord> {
    let mut all: Vec<AuditRecord> = Vec::new();
    loop {
        let page = store.audit_after(all.len().try_into().unwrap(), 5000).await.unwrap();
        if page.is_empty() {
            break;
        }
        all.extend(page);
    }
    assert!(all.iter().zip(1..).all(|(record, number)| record.sequence == number));
    assert_eq!(store.log_size().await.unwrap(), all.len() as u64);
    all
}

async fn redeem(gateway: &reqwest::Client, address: &str, once: &Once, peer: &str) -> Told {
    let form = [("token", once.token.as_str()), ("redeem", "true"), ("peer_sha256", peer)];
    let asked = gateway.post(format!("{address}/v1/introspect")).form(&form).send().await;
    let Ok(answer) = asked else { return Told::NobodyThere };
    if answer.status() == StatusCode::SERVICE_UNAVAILABLE {
        assert!(answer.headers().contains_key("retry-after"));
        return Told::Later;
    }
    match answer.json::<Value>().await {
        Ok(said) if said["active"] == true => Told::Active,
        Ok(said) => {
            assert_eq!(said["active"], false, "{said}");
            Told::Inactive
        }
        Err(_) => Told::NobodyThere,
    }
}

pub(crate) async fn all(asking: JoinSet<Vec<(Once, Told)>>) -> Vec<(Once, Told)> {
    asking.join_all().await.into_iter().flatten().collect()
}

fn decode(text: &str) -> Vec<u8> {
    use base64::Engine;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text).unwrap()
}

/// A server of this test's own.
pub(crate) async fn own_server(settings: &str) -> (Cluster, String) {
    let cluster = Cluster::start(settings);
    let url = cluster.database().await;
    (cluster, url)
}
