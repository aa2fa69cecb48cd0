//! A network of two hosts, one of them a namespace of its own, whose cable can be pulled: packets
//! vanish, and nobody is told.

use std::process::Command;

use signet_authority::random;
use signet_evidence::thumbprint::hex;

pub(crate) struct Cable {
    pub(crate) namespace: String,
    /// The address on the namespace's side.
    pub(crate) far: String,
    link: String,
}

fn ip(arguments: &[&str]) -> bool {
    Command::new("ip").args(arguments).output().is_ok_and(|output| output.status.success())
}

impl Cable {
    /// `None` where this is not allowed.
    pub(crate) fn lay() -> Option<Self> {
        let name = hex(&random::bytes::<4>());
        let [high, low] = random::bytes::<2>();
        // Of RFC 1918, a net of two hosts.
        let net = format!("10.{high}.{low}");
        let cable = Self {
            namespace: format!("signet-{name}"),
            far: format!("{net}.2"),
            link: format!("sg{name}"),
        };
        let (namespace, link) = (cable.namespace.as_str(), cable.link.as_str());
        let (near, far) = (format!("{net}.1/30"), format!("{net}.2/30"));
        let laid = ip(&["netns", "add", namespace])
            && ip(&[
                "link", "add", link, "type", "veth", "peer", "name", "far", "netns", namespace,
            ])
            && ip(&["address", "add", &near, "dev", link])
            && ip(&["link", "set", link, "up"])
            && ip(&["-n", namespace, "address", "add", &far, "dev", "far"])
            && cable.set("up");
        laid.then_some(cable)
    }

    fn set(&self, state: &str) -> bool {
        ip(&["-n", &self.namespace, "link", "set", "far", state])
    }

    pub(crate) fn pull(&self) {
        assert!(self.set("down"));
    }

    pub(crate) fn plug(&self) {
        assert!(self.set("up"));
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        ip(&["netns", "delete", &self.namespace]);
        // Goes with the namespace, where it got so far.
        ip(&["link", "delete", &self.link]);
    }
}
