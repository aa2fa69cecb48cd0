//! The TLS connection's bytes, carried in frames.

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::net::unix::OwnedReadHalf;
use tokio::sync::mpsc;

use super::frame::{Frame, FrameReader, Kind, MAX_PIECE};

/// Carries bytes between `near`, the other end of which TLS speaks into, and the far host, until
/// one of them ends or breaks the protocol. Then `near` ends too.
pub(super) async fn carry(
    near: DuplexStream,
    reader: &mut FrameReader<OwnedReadHalf>,
    out: &mpsc::Sender<Frame>,
) {
    let (mut from_tls, mut to_tls) = tokio::io::split(near);
    let up = async {
        let mut piece = vec![0; MAX_PIECE];
        while let Ok(length) = from_tls.read(&mut piece).await {
            let content = piece.get(..length).unwrap_or_default().to_vec();
            // An empty piece tells the far host that no more comes.
            if out.send(Frame { kind: Kind::Tunnel, content }).await.is_err() || length == 0 {
                break;
            }
        }
        // The answer may still be on its way.
        std::future::pending::<()>().await;
    };
    let down = async {
        while let Ok(Frame { kind: Kind::Tunnel, content }) = reader.next().await {
            if content.is_empty() || to_tls.write_all(&content).await.is_err() {
                break;
            }
        }
        let _ = to_tls.shutdown().await;
        std::future::pending::<()>().await;
    };
    tokio::join!(up, down);
}
