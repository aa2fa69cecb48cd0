//! Every bench runs. Ratios of one round say nothing, so no bar is looked at.
#![allow(clippy::unwrap_used, reason = "a test says by panicking that it failed")]

use signet_bench::{ALL, Effort, NotHere, Outcome, Programs, Report, measure, svg};

#[test]
fn every_bench_runs() {
    let programs = Programs::beside().unwrap();
    let mut report = Report::default();
    let mut ran = Vec::new();
    for bench in ALL {
        let figure = match measure(bench, &programs, Effort::Short) {
            Ok(figure) => figure,
            // `make bench` gets Node's library and Keylime; a test downloads nothing.
            Err(error)
                if error.is::<NotHere>() && ["nginx-node", "keylime"].contains(&bench.name) =>
            {
                continue;
            }
            Err(error) => panic!("{}: {error}", bench.name),
        };
        ran.push(bench);
        assert!(figure.ratio > 0.0, "{}: {figure:?}", bench.name);
        report.add(bench, figure);
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bench/results.json");
    report.write(&file).unwrap();
    let results: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    assert_eq!(ran.len(), results.as_array().unwrap().len());
    for (bench, result) in ran.iter().zip(results.as_array().unwrap()) {
        assert_eq!(result["name"], bench.name);
        assert_eq!(result["bar"], bench.bar);
        assert!(result["ratio"].is_f64() && result["held"].is_boolean(), "{result}");
    }
    let outcomes: Vec<Outcome> = serde_json::from_value(results).unwrap();
    assert_eq!(svg(&outcomes).matches("<line ").count(), ran.len());
    assert!(report.to_string().contains(ALL[0].about));
}
