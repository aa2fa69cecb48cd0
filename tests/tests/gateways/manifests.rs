//! Manifests for products that cannot be run here, against the schemas that their makers publish.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn check(product: &str, manifest: &Path) -> Output {
    Command::new(root().join(".venv/bin/python"))
        .arg(root().join("tests/oracles/manifests.py"))
        .arg(root().join(format!("fixtures/published/schemas/{product}.json")))
        .arg(manifest)
        .output()
        .unwrap()
}

/// The manifest is valid, holds these kinds, and would not be with one member misspelled.
fn valid(product: &str, kinds: &[&str], member: &str) {
    let manifest = root().join(format!("docs/gateways/{product}/signet.yaml"));
    let output = check(product, &manifest);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(said.lines().collect::<Vec<_>>(), kinds);
    let text = std::fs::read_to_string(&manifest).unwrap();
    assert!(text.contains(member));
    let folder = tempfile::tempdir().unwrap();
    let changed = folder.path().join("changed.yaml");
    std::fs::write(&changed, text.replacen(member, &format!("x{member}"), 1)).unwrap();
    let output = check(product, &changed);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        !output.status.success() && said.contains("Additional properties are not allowed"),
        "{said}"
    );
}

#[test]
fn istio() {
    let kinds = [
        "security.istio.io/v1 AuthorizationPolicy",
        "security.istio.io/v1 RequestAuthentication",
        "networking.istio.io/v1alpha3 EnvoyFilter",
        "networking.istio.io/v1 Gateway",
        "networking.istio.io/v1 ServiceEntry",
        "networking.istio.io/v1 DestinationRule",
    ];
    valid("istio", &kinds, "provider: {");
}

#[test]
fn linkerd() {
    let kinds = [
        "policy.linkerd.io/v1beta3 Server",
        "policy.linkerd.io/v1alpha1 MeshTLSAuthentication",
        "policy.linkerd.io/v1alpha1 AuthorizationPolicy",
    ];
    valid("linkerd", &kinds, "accessPolicy:");
}
