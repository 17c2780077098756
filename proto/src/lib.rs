//! The wire contract of Deskpulse, generated from `proto/deskpulse/v1/*.proto`.
//!
//! The generated code is checked in, so that building needs no `protoc` and no generator. After a change of a
//! `.proto` file: `UPDATE_GENERATED=1 cargo test -p deskpulse-proto`.

/// Version 1 of the contract.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]
#[rustfmt::skip]
pub mod v1 {
    include!("generated/deskpulse.v1.rs");
}

pub mod lent;
pub mod raw;

/// The contract's descriptors with their comments (an encoded `google.protobuf.FileDescriptorSet`), for reflection and
/// for reading events in their JSON form.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!("generated/deskpulse.v1.bin");
