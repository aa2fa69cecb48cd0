//! The short form of fuzzing, for ordinary tests: every seed of a target, and small changes of it,
//! always the same ones. Included by the tests of the packages that own what is fuzzed, so this file
//! uses the standard library only.

use std::path::Path;

/// Changes of each seed.
const CHANGES: u32 = 400;

/// Runs `target` on each file in `fuzz/seeds/<name>`, cut at every place, and on changes of it.
///
/// # Panics
/// Where `target` does, naming the seed; and where there are no seeds.
pub(crate) fn seeds(name: &str, target: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds").join(name);
    let entries = std::fs::read_dir(&folder).expect("the target has a folder of seeds");
    let mut files: Vec<_> = entries.map(|entry| entry.expect("a seed").path()).collect();
    files.sort();
    assert!(!files.is_empty(), "no seeds in {}", folder.display());
    for file in files {
        let seed = std::fs::read(&file).expect("a seed");
        let run = |input: &[u8]| {
            let outcome = std::panic::catch_unwind(|| target(input));
            assert!(outcome.is_ok(), "{} came to grief as {input:02x?}", file.display());
        };
        run(&seed);
        for cut in (0..seed.len()).step_by(1 + seed.len() / 500) {
            run(&seed[..cut]);
        }
        let mut random = Random(0x9E37_79B9_7F4A_7C15 ^ seed.len() as u64);
        for _ in 0..CHANGES {
            run(&changed(&seed, &mut random));
        }
    }
}

/// The seed with one to four small changes.
fn changed(seed: &[u8], random: &mut Random) -> Vec<u8> {
    const TELLING: [u8; 8] = [0x00, 0x01, 0x17, 0x18, 0x7F, 0x80, 0xBF, 0xFF];
    let mut bytes = seed.to_vec();
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len().max(1));
        match random.below(5) {
            0 if !bytes.is_empty() => bytes[at] ^= 1 << random.below(8),
            1 if !bytes.is_empty() => bytes[at] = TELLING[random.below(TELLING.len())],
            2 if !bytes.is_empty() => drop(bytes.remove(at)),
            3 => bytes.insert(at.min(bytes.len()), TELLING[random.below(TELLING.len())]),
            _ => {
                let from = random.below(bytes.len().max(1));
                let piece: Vec<u8> = bytes.iter().skip(from).take(16).copied().collect();
                bytes.splice(at.min(bytes.len())..at.min(bytes.len()), piece);
            }
        }
    }
    bytes
}

/// xorshift64: the same changes every time.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }
}
