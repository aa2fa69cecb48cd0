//! Every bench runs. Ratios of one round say nothing, so no bar is looked at.
#![allow(clippy::unwrap_used, reason = "a test says by panicking that it failed")]

use signet_bench::{ALL, Effort, Programs, Report, measure};

#[test]
fn every_bench_runs() {
    let programs = Programs::beside().unwrap();
    let mut report = Report::default();
    for bench in ALL {
        let figure = measure(bench, &programs, Effort::Short)
            .unwrap_or_else(|error| panic!("{}: {error}", bench.name));
        assert!(figure.ratio > 0.0, "{}: {figure:?}", bench.name);
        report.add(bench, figure);
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bench/results.json");
    report.write(&file).unwrap();
    let results: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    for (bench, result) in ALL.iter().zip(results.as_array().unwrap()) {
        assert_eq!(result["name"], bench.name);
        assert_eq!(result["bar"], bench.bar);
        assert!(result["ratio"].is_f64() && result["held"].is_boolean(), "{result}");
    }
    assert!(report.to_string().contains(ALL[0].about));
}
