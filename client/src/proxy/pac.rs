//! The file that tells a browser what to send here (proxy auto-config).

use serde_json::json;

use super::target::Targets;

/// Where it is served, on our own name.
pub(super) const PATH: &str = "/.signet/proxy.pac";

/// What is for the targets comes here, over https at their own origins, or plain by their names;
/// everything else goes where it went before.
pub(super) fn script(targets: &Targets, proxy: &str) -> String {
    // JSON strings are JavaScript strings.
    let set = |names: Vec<String>| {
        let names = names.into_iter().map(|name| (name, json!(true)));
        json!(names.collect::<serde_json::Map<_, _>>())
    };
    let hosts = set(targets.0.iter().map(|target| target.host().to_owned()).collect());
    let origins = set(targets.0.iter().map(super::Target::authority).collect());
    let proxy = json!(format!("PROXY {proxy}"));
    format!(
        r#"function FindProxyForURL(url, host) {{
  var hosts = {hosts};
  var origins = {origins};
  var parts = url.toLowerCase().split("/");
  var plain = parts[0] === "http:" || parts[0] === "ws:";
  var tls = parts[0] === "https:" || parts[0] === "wss:";
  var name = parts[2].replace(/^[^@]*@/, "");
  if (tls) name = name.replace(/:443$/, "");
  if (plain) name = name.replace(/:[0-9]*$/, "");
  var served = tls ? origins : plain ? hosts : {{}};
  return served[name] === true ? {proxy} : "DIRECT";
}}
"#
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
        assert!(script.contains("hosts = {\"ctl.mesh.example\":true};"), "{script}");
        assert!(script.contains("origins = {\"ctl.mesh.example:8443\":true};"), "{script}");
        assert!(script.contains("? \"PROXY 127.0.0.1:8123\" : \"DIRECT\""), "{script}");
    }
}
