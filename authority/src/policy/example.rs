//! The example set that `signet-authority init` lays down.

/// File name and text of every file of the example set, tests included.
pub const EXAMPLE: &[(&str, &str)] = &[
    ("actions.toml", include_str!("../../policies/actions.toml")),
    ("entities.json", include_str!("../../policies/entities.json")),
    ("mesh.cedarschema", include_str!("../../policies/mesh.cedarschema")),
    ("routes.cedar", include_str!("../../policies/routes.cedar")),
    ("tests.toml", include_str!("../../policies/tests.toml")),
    ("trust.cedar", include_str!("../../policies/trust.cedar")),
    ("views.cedar", include_str!("../../policies/views.cedar")),
];
