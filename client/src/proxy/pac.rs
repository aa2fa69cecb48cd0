//! The file that tells a browser what to send here (proxy auto-config).

use serde_json::json;

use super::target::Targets;

/// Where it is served, on our own name.
pub(super) const PATH: &str = "/.signet/proxy.pac";

/// Plain HTTP and websockets to the targets come here, everything else goes where it went before.
pub(super) fn script(targets: &Targets, proxy: &str) -> String {
    // JSON strings are JavaScript strings.
    let hosts: serde_json::Map<String, serde_json::Value> =
        targets.0.iter().map(|target| (target.host().to_owned(), json!(true))).collect();
    let (hosts, proxy) = (json!(hosts), json!(format!("PROXY {proxy}")));
    format!(
        "function FindProxyForURL(url, host) {{\n  var targets = {hosts};\n  \
         var plain = url.substring(0, 5) === \"http:\" || url.substring(0, 3) === \"ws:\";\n  \
         return plain && targets[host.toLowerCase()] === true ? {proxy} : \"DIRECT\";\n}}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::target::Target;

    #[test]
    fn only_targets_are_named() {
        let targets = Targets(vec![Target::parse("https://ctl.mesh.example:8443").unwrap()]);
        let script = script(&targets, "127.0.0.1:8123");
        assert!(script.contains("{\"ctl.mesh.example\":true}"), "{script}");
        assert!(script.contains("\"PROXY 127.0.0.1:8123\" : \"DIRECT\""), "{script}");
    }
}
