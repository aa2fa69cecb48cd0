//! Notes, checkpoints, cosignatures and updates: the examples that C2SP publishes, and forgeries.
#![allow(clippy::unwrap_used, reason = "a test says by panicking that it failed")]

use signet_evidence::UnixTime;
use signet_evidence::binding::Sha256;
use signet_verifier::log::{
    Checkpoint, CheckpointError, FileLogSigner, Frontier, Inconsistent, LogSigner, Note, NoteError,
    NoteKey, NoteKeyError, ProofError, Receipt, ReceiptError, SignatureKind, Succession,
    SuccessionError, TreeHead, Update, UpdateError, consistency_path, inclusion_path, leaf_hash,
};

const ORIGIN: &str = "signet.example/log";
const WITNESS: &str = "mesh.example/gateway/edge";

fn signer() -> FileLogSigner {
    FileLogSigner::from_pkcs8(&FileLogSigner::generate().unwrap()).unwrap()
}

fn key(name: &str, kind: SignatureKind, signer: &FileLogSigner) -> NoteKey {
    NoteKey::new(name, kind, signer.public_key()).unwrap()
}

fn entry(number: u64) -> Vec<u8> {
    number.to_be_bytes().to_vec()
}

fn leaves(size: u64) -> Vec<Sha256> {
    (0..size).map(|number| leaf_hash(&entry(number))).collect()
}

fn checkpoint(leaves: &[Sha256]) -> Checkpoint {
    let head = TreeHead { size: leaves.len() as u64, root: Frontier::of(leaves).root() };
    Checkpoint { origin: ORIGIN.into(), head }
}

fn hashes(path: Vec<std::ops::Range<u64>>, leaves: &[Sha256]) -> Vec<Sha256> {
    let at = |number: u64| usize::try_from(number).unwrap();
    path.into_iter()
        .map(|range| Frontier::of(&leaves[at(range.start)..at(range.end)]).root())
        .collect()
}

fn update(old: u64, leaves: &[Sha256], log: &FileLogSigner) -> Update {
    let size = leaves.len() as u64;
    let proof = match old {
        0 => Vec::new(),
        old => hashes(consistency_path(old, size).unwrap(), leaves),
    };
    Update { old, proof, note: checkpoint(leaves).sign(log).unwrap() }
}

/// The example of c2sp.org/tlog-cosignature: a log's signature and a witness's under one checkpoint.
const PUBLISHED: &str = "example.com/behind-the-sofa
20852163
CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

\u{2014} example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
\u{2014} witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==
";

#[test]
fn the_published_example_is_read_and_written_back() {
    let note = Note::parse(PUBLISHED).unwrap();
    assert_eq!(note.to_string(), PUBLISHED);
    let [log, witness] = note.signatures() else { panic!("two signatures") };
    assert_eq!((log.key_id, log.signature.len()), ([3, 0x3d, 0xe0, 0xae], 64));
    assert_eq!((witness.name.as_str(), witness.signature.len()), ("witness.example.com/w1", 72));
    // Its time, as the document says it: 1679315147.
    assert_eq!(witness.signature[..8], 1_679_315_147_u64.to_be_bytes());
}

#[test]
fn keys_are_read_as_they_are_shown_and_never_mixed_up() {
    let (log, witness) = (signer(), signer());
    let log = key(ORIGIN, SignatureKind::Log, &log);
    let witness = key(WITNESS, SignatureKind::Witness, &witness);
    assert_eq!(witness.to_string().parse(), Ok(witness));
    let text = log.to_string();
    assert_eq!(text.parse(), Ok(log.clone()));
    let renamed = text.replace("signet.example", "signet.invalid");
    assert_eq!(renamed.parse::<NoteKey>(), Err(NoteKeyError::Hash));
    for wrong in ["", "name", "name+00000000", "name+zz+AQ==", "name+00000000+!"] {
        assert_eq!(wrong.parse::<NoteKey>(), Err(NoteKeyError::Format), "{wrong}");
    }
    assert_eq!("name+00000000+Bg==".parse::<NoteKey>(), Err(NoteKeyError::Algorithm));
    assert_eq!(NoteKey::new("a b", SignatureKind::Log, [0; 32]), Err(NoteKeyError::Format));
}

#[test]
fn a_checkpoint_is_believed_from_its_log_only() {
    let (log, stranger) = (signer(), signer());
    let log_key = key(ORIGIN, SignatureKind::Log, &log);
    let signed = checkpoint(&leaves(5)).sign(&log).unwrap();
    assert_eq!(Checkpoint::verify(&signed, &log_key), Ok(checkpoint(&leaves(5))));

    let by_stranger = checkpoint(&leaves(5)).sign(&stranger).unwrap();
    let unsigned = CheckpointError::Note(NoteError::Unsigned(ORIGIN.into()));
    assert_eq!(Checkpoint::verify(&by_stranger, &log_key), Err(unsigned));
    let edited = Note::parse(&signed.to_string().replace("\n5\n", "\n6\n")).unwrap();
    let wrong = CheckpointError::Note(NoteError::Signature(ORIGIN.into()));
    assert_eq!(Checkpoint::verify(&edited, &log_key), Err(wrong));

    for text in ["signet.example/log\n05\nAA==\n", "signet.example/log\n5\n", "no checkpoint\n"] {
        let mut note = Note::new(text.into());
        note.sign(ORIGIN, &log).unwrap();
        assert_eq!(Checkpoint::verify(&note, &log_key), Err(CheckpointError::Format), "{text}");
    }
    let other = Checkpoint { origin: "other.example/log".into(), ..checkpoint(&leaves(5)) };
    let mut note = Note::new(other.to_string());
    note.sign(ORIGIN, &log).unwrap();
    let origin = CheckpointError::Origin { found: other.origin, expected: ORIGIN.into() };
    assert_eq!(Checkpoint::verify(&note, &log_key), Err(origin));
}

#[test]
fn notes_that_are_none_are_refused() {
    let long = format!("{}\n\n\u{2014} a AAAAAAA=\n", "x".repeat(70_000));
    assert_eq!(Note::parse(&long), Err(NoteError::TooLong));
    let line = "\u{2014} a AAAAAAA=\n";
    let whole = |length: usize| format!("{}\n\n{line}", "x".repeat(length - line.len() - 2));
    assert_eq!(Note::parse(&whole(65_536)).unwrap().text().len(), 65_536 - line.len() - 1);
    assert_eq!(Note::parse(&whole(65_537)), Err(NoteError::TooLong));
    let signed = |signatures| format!("a\n\n{}", line.repeat(signatures));
    assert_eq!(Note::parse(&signed(64)).unwrap().signatures().len(), 64);
    assert_eq!(Note::parse(&signed(65)), Err(NoteError::TooLong));
    for text in [
        "",
        "a\n",
        "a\n\n",
        "a\n\n\u{2014} a AAAAAAA=",
        "a\n\n- a AAAAAAA=\n",
        "a\n\n\u{2014} a AAAA\n",
        "a\n\n\u{2014} a+b AAAAAAA=\n",
        "a\tb\n\n\u{2014} a AAAAAAA=\n",
    ] {
        assert_eq!(Note::parse(text), Err(NoteError::Format), "{text:?}");
    }
}

#[test]
fn a_cosignature_says_who_and_when() {
    let (log, witness) = (signer(), signer());
    let key = key(WITNESS, SignatureKind::Witness, &witness);
    let mut note = checkpoint(&leaves(3)).sign(&log).unwrap();
    let line = note.cosign(WITNESS, &witness, UnixTime(1_790_000_000)).unwrap();
    assert_eq!(key.verify_cosignature(&note), Err(NoteError::Unsigned(WITNESS.into())));
    note.add(line.clone());
    let travelled = Note::parse(&note.to_string()).unwrap();
    assert_eq!(key.verify_cosignature(&travelled), Ok(UnixTime(1_790_000_000)));
    // On another checkpoint, and with another time, it is worth nothing.
    let mut other = checkpoint(&leaves(4)).sign(&log).unwrap();
    other.add(line.clone());
    assert_eq!(key.verify_cosignature(&other), Err(NoteError::Signature(WITNESS.into())));
    let mut later = checkpoint(&leaves(3)).sign(&log).unwrap();
    let mut line = line;
    line.signature[7] ^= 1;
    later.add(line);
    assert_eq!(key.verify_cosignature(&later), Err(NoteError::Signature(WITNESS.into())));
}

#[test]
fn a_witness_follows_what_grows_and_nothing_else() {
    let log = signer();
    let key = key(ORIGIN, SignatureKind::Log, &log);
    let known = checkpoint(&leaves(5)).head;
    let grown = update(5, &leaves(9), &log);
    let travelled = Update::parse(&grown.to_string()).unwrap();
    assert_eq!(travelled, grown);
    assert_eq!(travelled.accept(Some(&known), &key), Ok(checkpoint(&leaves(9))));
    assert_eq!(update(0, &leaves(9), &log).accept(None, &key), Ok(checkpoint(&leaves(9))));
    assert_eq!(update(5, &leaves(5), &log).accept(Some(&known), &key), Ok(checkpoint(&leaves(5))));

    // A witness that knows the empty log knows nothing that could be continued.
    let empty = TreeHead { size: 0, root: Frontier::default().root() };
    assert_eq!(grown.accept(Some(&empty), &key), Ok(checkpoint(&leaves(9))));

    let elsewhere = update(4, &leaves(9), &log).accept(Some(&known), &key);
    assert_eq!(elsewhere, Err(UpdateError::Start { old: 4, known: 5 }));
    let shrunk = update(0, &leaves(4), &log).accept(Some(&known), &key);
    assert_eq!(shrunk, Err(Inconsistent::Shrunk { known: 5, size: 4 }.into()));
    for size in [5, 9] {
        let mut forged = leaves(size);
        forged[2] = leaf_hash(b"another decision");
        let forked = update(5, &forged, &log).accept(Some(&known), &key);
        let source = ProofError::Root;
        assert_eq!(forked, Err(Inconsistent::Forked { known: 5, size, source }.into()));
    }
    let stranger = update(5, &leaves(9), &signer()).accept(Some(&known), &key);
    let unsigned = CheckpointError::Note(NoteError::Unsigned(ORIGIN.into()));
    assert_eq!(stranger, Err(UpdateError::Checkpoint(unsigned)));
}

#[test]
fn updates_that_are_none_are_refused() {
    let good = update(5, &leaves(9), &signer()).to_string();
    assert_eq!(Update::parse(&good.replace("old 5", "old x")), Err(UpdateError::Format));
    assert_eq!(Update::parse(&good.replace("old 5\n", "old 5\nAAAA\n")), Err(UpdateError::Format));
    assert_eq!(Update::parse(""), Err(UpdateError::Format));
    let hash = format!("{}=\n", "A".repeat(43));
    let (_, note) = good.split_once("\n\n").unwrap();
    let with = |hashes| format!("old 5\n{}\n{note}", hash.repeat(hashes));
    assert_eq!(Update::parse(&with(63)).unwrap().proof.len(), 63);
    assert_eq!(Update::parse(&with(64)), Err(UpdateError::Format));
}

#[test]
fn a_receipt_proves_one_entry() {
    let log = signer();
    let key = key(ORIGIN, SignatureKind::Log, &log);
    let leaves = leaves(9);
    let proof = hashes(inclusion_path(6, 9).unwrap(), &leaves);
    let receipt = Receipt { index: 6, proof, note: checkpoint(&leaves).sign(&log).unwrap() };
    let text = receipt.to_string();
    assert_eq!(Receipt::parse(&text).unwrap(), receipt);
    let extra = text.replace("index 6", "extra AAAA\nindex 6");
    assert_eq!(Receipt::parse(&extra).unwrap(), receipt);
    assert_eq!(receipt.verify(&entry(6), &key), Ok(checkpoint(&leaves)));
    assert_eq!(receipt.verify(&entry(5), &key), Err(ProofError::Root.into()));
    assert_eq!(Receipt::parse(&text.replace("@v1", "@v2")), Err(ReceiptError::Format));
    // No tree is higher than 64.
    let with = |hashes| Receipt { proof: vec![[0; 32]; hashes], ..receipt.clone() };
    assert_eq!(Receipt::parse(&with(64).to_string()).unwrap(), with(64));
    assert_eq!(Receipt::parse(&with(65).to_string()), Err(ReceiptError::Format));
}

#[test]
fn a_frontier_counts_its_leaves() {
    assert_eq!([0, 1, 5].map(|size| Frontier::of(&leaves(size)).size()), [0, 1, 5]);
}

#[test]
fn a_log_changes_its_key_by_the_word_of_both() {
    let signers = [signer(), signer(), signer()];
    let [earlier, later, stranger] = &signers;
    let keys = signers.each_ref().map(|one| key(ORIGIN, SignatureKind::Log, one));
    let [earlier_key, later_key, stranger_key] = &keys;
    let succession = Succession { next: later_key.clone() };
    let note = succession.sign(earlier, later).unwrap();
    let travelled = Note::parse(&note.to_string()).unwrap();
    assert_eq!(Succession::verify(&travelled, earlier_key), Ok(succession.clone()));
    let unsigned = Err(SuccessionError::Note(NoteError::Unsigned(ORIGIN.into())));
    assert_eq!(Succession::verify(&travelled, stranger_key), unsigned);
    let signed = |text: String, signers: &[&FileLogSigner]| {
        let mut note = Note::new(text);
        signers.iter().for_each(|signer| note.sign(ORIGIN, *signer).unwrap());
        Succession::verify(&note, earlier_key)
    };
    // One of them alone, or somebody in the place of the later one.
    let text = succession.to_string();
    assert_eq!(signed(text.clone(), &[earlier]), unsigned);
    assert_eq!(signed(text.clone(), &[later]), unsigned);
    assert_eq!(signed(text.clone(), &[earlier, stranger]), unsigned);
    // Another log's key, a witness's, the same again; and what says anything else.
    let format = Err(SuccessionError::Format);
    let next = |next| Succession { next }.to_string();
    for text in [
        next(key("other.example/log", SignatureKind::Log, later)),
        next(key(ORIGIN, SignatureKind::Witness, later)),
        next(earlier_key.clone()),
        text.replace("from now on", "sometimes"),
        format!("{text}more\n"),
        checkpoint(&leaves(5)).to_string(),
    ] {
        assert_eq!(signed(text.clone(), &[earlier, later]), format, "{text}");
    }
}

#[test]
fn a_checkpoint_by_any_key_that_the_log_had_is_believed() {
    let signers = [signer(), signer(), signer()];
    let [old, new, stranger] = &signers;
    let keys = [old, new].map(|one| key(ORIGIN, SignatureKind::Log, one));
    let expected = checkpoint(&leaves(5));
    for signer in [old, new] {
        let note = expected.sign(signer).unwrap();
        assert_eq!(Checkpoint::verify_by_any(&note, &keys), Ok(expected.clone()));
    }
    // What the newest key says of it counts, whatever the others say.
    let unsigned = Err(CheckpointError::Note(NoteError::Unsigned(ORIGIN.into())));
    let by_stranger = expected.sign(stranger).unwrap();
    assert_eq!(Checkpoint::verify_by_any(&by_stranger, &keys), unsigned);
    for (signer, due) in [(old, unsigned), (new, Err(CheckpointError::Format))] {
        let mut note = Note::new("no checkpoint\n".into());
        note.sign(ORIGIN, signer).unwrap();
        assert_eq!(Checkpoint::verify_by_any(&note, &keys), due);
    }
    let nobody = Checkpoint::verify_by_any(&by_stranger, &[]);
    assert_eq!(nobody, Err(CheckpointError::Format));
}
