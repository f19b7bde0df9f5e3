//! The JSON Schema of the report, for programs that read it: `docs/report.schema.json` is this, written down.

use schemars::generate::SchemaSettings;

use super::{Report, SCHEMA};

/// The schema (draft 2020-12) of what [`write_json`](super::file::write_json) writes.
///
/// A program that reads reports should look at `schema` first: it is [`SCHEMA`], and changes with the shape. Fields may
/// be added without such a change; what is not known is to be passed over.
pub fn json() -> serde_json::Value {
    let generator = SchemaSettings::draft2020_12().for_serialize().into_generator();
    let mut schema = generator.into_root_schema_for::<Report>();
    schema.insert("$id".to_owned(), format!("urn:{}", SCHEMA.replace('/', ":")).into());
    schema.insert("title".to_owned(), "A report of the mxhal conformance suite".into());
    if let Some(name) = schema.pointer_mut("/properties/schema").and_then(|name| name.as_object_mut()) {
        name.insert("const".to_owned(), SCHEMA.into());
    }
    schema.to_value()
}
