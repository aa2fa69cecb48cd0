//! Manifests for products that cannot be run here, against the schemas that their makers publish.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn python() -> Command {
    Command::new(root().join(".venv/bin/python"))
}

fn check(product: &str, manifest: &Path) -> Output {
    python()
        .arg(root().join("tests/oracles/manifests.py"))
        .arg(root().join(format!("fixtures/published/schemas/{product}.json")))
        .arg(manifest)
        .output()
        .unwrap()
}

/// The manifest is valid, holds these kinds, and would not be with one member misspelled.
fn valid(product: &str, file: &str, kinds: &[&str], member: &str) {
    let manifest = root().join("docs/gateways").join(product).join(file);
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
    valid("istio", "signet.yaml", &kinds, "provider: {");
}

/// Kong's function has the syntax of Lua: HAProxy loads files in it, and calls nothing of them here.
#[test]
fn the_function_for_kong_is_lua() {
    let manifest = root().join("docs/gateways/kong/kong.yaml");
    let script = "import sys, yaml\n\
        document = yaml.safe_load(open(sys.argv[1]).read().replace('{{', '').replace('}}', ''))\n\
        [service] = document['services']\n[plugin] = service['plugins']\n\
        assert plugin['name'] == 'pre-function', plugin\n[code] = plugin['config']['access']\n\
        print('local function access()\\n' + code + '\\nend')";
    let output = python().args(["-c", script]).arg(manifest).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let folder = tempfile::tempdir().unwrap();
    let (lua, config) = (folder.path().join("kong.lua"), folder.path().join("haproxy.cfg"));
    std::fs::write(&config, format!("global\n  lua-load {}\n", lua.display())).unwrap();
    let loads = |code: &[u8]| {
        std::fs::write(&lua, code).unwrap();
        let output = Command::new("/usr/sbin/haproxy").arg("-c").arg("-f").arg(&config).output();
        let said = String::from_utf8_lossy(&output.unwrap().stderr).into_owned();
        if said.contains("error in Lua file") { Err(said) } else { Ok(()) }
    };
    assert_eq!(loads(&output.stdout), Ok(()));
    let broken = String::from_utf8(output.stdout).unwrap().replacen(" then", "", 1);
    assert!(loads(broken.as_bytes()).is_err_and(|error| error.contains("'then' expected")));
}

#[test]
fn linkerd() {
    let kinds = [
        "policy.linkerd.io/v1beta3 Server",
        "policy.linkerd.io/v1alpha1 MeshTLSAuthentication",
        "policy.linkerd.io/v1alpha1 AuthorizationPolicy",
    ];
    valid("linkerd", "signet.yaml", &kinds, "accessPolicy:");
}

#[test]
fn consul() {
    let kinds = ["consul.hashicorp.com/v1alpha1 ServiceDefaults"];
    valid("consul", "signet.yaml", &kinds, "required:");
}

/// The entry for a Consul without Kubernetes says what the resource says.
#[test]
fn consul_is_told_the_same_in_both_ways() {
    let script = "import json, sys, yaml\n\
        resource, entry = yaml.safe_load(open(sys.argv[1])), json.load(open(sys.argv[2]))\n\
        assert entry.pop('Kind') == 'service-defaults'\n\
        assert entry.pop('Name') == resource['metadata']['name']\n\
        first = lambda members: {name[0].lower() + name[1:]: member for name, member in members.items()}\n\
        entry['EnvoyExtensions'] = [first(one) for one in entry['EnvoyExtensions']]\n\
        assert first(entry) == resource['spec'], (first(entry), resource['spec'])";
    let folder = root().join("docs/gateways/consul");
    let output = python()
        .args(["-c", script])
        .args([folder.join("signet.yaml"), folder.join("signet.json")])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn kong() {
    valid("kong", "kong.yaml", &["_format_version 3.0"], "strip_path:");
}
