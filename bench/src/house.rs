//! What the software machine of the authority's tests needs of their house.

#[path = "../../authority/tests/rows/mod.rs"]
#[allow(
    dead_code,
    clippy::unwrap_used,
    clippy::string_slice,
    clippy::indexing_slicing,
    reason = "the authority's tests use more of them, and may fail by panicking"
)]
pub(crate) mod rows;
