//! Secret and unique bytes: made in the authority only, and handed to libraries as values.

use aws_lc_rs::rand;
use zeroize::Zeroizing;

/// `N` bytes from the system's secure source.
///
/// # Panics
/// When the system has no randomness: nothing safe can be done then, and AWS-LC aborts itself.
#[must_use]
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    #[allow(clippy::expect_used)]
    rand::fill(&mut bytes).expect("the system's random source answers");
    bytes
}

/// `N` secret bytes, wiped when dropped.
#[must_use]
pub fn secret<const N: usize>() -> Zeroizing<[u8; N]> {
    Zeroizing::new(bytes())
}
