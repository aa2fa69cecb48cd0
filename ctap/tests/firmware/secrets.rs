//! Nothing secret in the log, whatever its level.

use std::io;
use std::sync::{Arc, Mutex};

use aws_lc_rs::digest::{SHA256, digest};

use crate::*;

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The beginnings of how a secret may look when printed.
fn spellings(secret: &[u8]) -> [String; 3] {
    let head = &secret[..6];
    let hex: String = head.iter().map(|byte| format!("{byte:02x}")).collect();
    let list = format!("{head:?}").trim_matches(['[', ']']).to_owned();
    [hex, list, String::from_utf8_lossy(secret).into_owned()]
}

#[tokio::test]
async fn the_log_names_commands_and_no_secrets() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    // For all tests of this process: a thread's own subscriber may miss what other threads met first.
    tracing::subscriber::set_global_default(subscriber).unwrap();
    for firmware in BOTH {
        let key = VirtualKey::start(firmware).unwrap();
        let mut opened = open_with_pin(&key).await;
        let made = register(&mut opened, &registration(BY_PIN)).await;
        assert_by_pin(&mut opened, &assertion(&made, BY_PIN)).await.unwrap();
        opened.change_pin(&secret(PIN), &secret("998877")).await.unwrap();
    }
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(log.contains("ctap command"), "{log}");
    let hash = digest(&SHA256, PIN.as_bytes());
    for spelling in [PIN.as_bytes(), b"998877", hash.as_ref()].iter().flat_map(|s| spellings(s)) {
        assert!(!log.contains(&spelling), "{spelling:?} in {log}");
    }
}
