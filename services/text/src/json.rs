//! Messages as proto3 JSON.

use std::sync::LazyLock;

use deskpulse_proto::v1::QueryMetricsResponse;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, SerializeOptions};

/// The contract's descriptors.
pub static CONTRACT: LazyLock<DescriptorPool> = LazyLock::new(|| {
    DescriptorPool::decode(deskpulse_proto::FILE_DESCRIPTOR_SET).expect("the contract's descriptors are generated")
});

/// The descriptor of a message of the contract.
///
/// # Panics
/// When there is none of that name.
#[must_use]
pub fn message(name: &str) -> MessageDescriptor {
    CONTRACT.get_message_by_name(name).expect("callers name messages of the contract")
}

/// An answer in the contract's JSON form, with its final line break.
pub fn answer(answer: &QueryMetricsResponse) -> Result<String, serde_json::Error> {
    pretty(answer, "deskpulse.v1.QueryMetricsResponse")
}

/// A message as JSON on one line, with its line break; fields at their defaults left out.
pub fn line(message: &impl prost::Message, name: &str) -> Result<String, serde_json::Error> {
    let mut dynamic = DynamicMessage::new(self::message(name));
    dynamic.transcode_from(message).map_err(serde::ser::Error::custom)?;
    Ok(serde_json::to_string(&dynamic)? + "\n")
}

/// A message as pretty JSON, with its final line break; fields at their defaults included.
pub fn pretty(message: &impl prost::Message, name: &str) -> Result<String, serde_json::Error> {
    let mut dynamic = DynamicMessage::new(self::message(name));
    dynamic.transcode_from(message).map_err(serde::ser::Error::custom)?;
    let mut text = Vec::new();
    let mut serializer = serde_json::Serializer::pretty(&mut text);
    dynamic.serialize_with_options(&mut serializer, &SerializeOptions::new().skip_default_fields(false))?;
    Ok(String::from_utf8_lossy(&text).into_owned() + "\n")
}
