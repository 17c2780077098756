//! What can be called here, for people and for generators: an `OpenAPI` document made of the contract, and a page made of that.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::LazyLock;

use deskpulse_text::json::CONTRACT;
use prost_reflect::{
    Cardinality, EnumDescriptor, FieldDescriptor, FileDescriptor, Kind, MessageDescriptor, MethodDescriptor,
};
use serde_json::{Map, Value, json};

/// The document.
pub(crate) static DOCUMENT: LazyLock<String> = LazyLock::new(|| document().to_string());
/// The page.
pub(crate) static PAGE: LazyLock<String> = LazyLock::new(|| page(&document()));

/// The parameters of a question: name, whether it is required, and what it is.
pub(crate) const PARAMETERS: [(&str, bool, &str); 18] = [
    ("tenant", true, "The tenant, or `-` for all."),
    (
        "metric",
        true,
        "A metric with its options, as on the command line: `first_response_time:p50,p90`. Once for each metric.",
    ),
    ("filter", false, "An AIP-160 filter."),
    ("group_by", false, "Dimensions to group by, with commas between them."),
    ("from", false, "The start: a time, a date, or so long ago, as `-7d`."),
    ("to", false, "The end; now when absent."),
    ("last", false, "In place of `from`: the range begins so long before its end, as `1h`."),
    ("interval", false, "Cut the range: 1m, 5m, 15m, 30m, 1h, 1d, 1w, 1mo, 1q, 1y."),
    ("zone", false, "The IANA time zone of intervals and of local times; without one, the tenant's."),
    ("basis", false, "event, cohort or as-of."),
    ("clock", false, "calendar or business."),
    ("order_by", false, "What to sort by, as in QueryMetrics."),
    ("limit", false, "The most rows."),
    ("top", false, "Only the first so many groups."),
    ("others", false, "With `top`: the rest as one more group."),
    ("totals", false, "Totals beside the rows."),
    ("fill_gaps", false, "A row for every group and interval."),
    ("compare_to", false, "An earlier period: previous, 1d, 1w, 1mo, 1q, 1y."),
];
/// That of `/api/v1/query` beside them.
const FORMAT: (&str, bool, &str) = ("format", false, "json or csv; by the Accept header when absent.");
/// That of `/api/v1/watch` beside them.
pub(crate) const EVERY: (&str, bool, &str) = ("every", false, "The least time between two answers, as `1s`.");

fn document() -> Value {
    let mut paths = Map::new();
    let mut schemas = BTreeMap::new();
    for service in CONTRACT.services().filter(|service| service.package_name().starts_with("deskpulse")) {
        for method in service.methods().filter(|method| !method.is_client_streaming()) {
            let path = format!("/{}/{}", service.full_name(), method.name());
            paths.insert(path, operation(&method, service.name(), &mut schemas));
        }
    }
    let parameter = |(name, required, description): &(&str, bool, &str)| json!({ "name": name, "in": "query", "required": required, "description": description, "schema": { "type": "string" } });
    let parameters = |own| PARAMETERS.iter().chain([own]).map(parameter).collect();
    let get = |summary: &str, parameters: Vec<Value>, types: &[&str]| {
        let content: Map<String, Value> = types.iter().map(|it| ((*it).to_owned(), json!({}))).collect();
        json!({ "get": { "tags": ["web"], "summary": summary, "parameters": parameters, "responses": { "200": { "description": "OK", "content": content } } } })
    };
    for (path, summary, parameters, types) in [
        (
            "/api/v1/query",
            "A question in the words of the command line",
            parameters(&FORMAT),
            &["application/json", "text/csv"][..],
        ),
        (
            "/api/v1/watch",
            "The same, answered again whenever the answer changes",
            parameters(&EVERY),
            &["text/event-stream"],
        ),
        ("/metrics", "What Prometheus reads", Vec::new(), &["text/plain"]),
        ("/livez", "Whether the process runs", Vec::new(), &["text/plain"]),
        ("/readyz", "Whether the services are ready", Vec::new(), &["text/plain"]),
    ] {
        paths.insert(path.to_owned(), get(summary, parameters, types));
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Deskpulse",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Live, exact customer-service metrics. Every method of the gRPC contract can be called as JSON by POST; \
                            streams answer with server-sent events. Errors are those of the Connect protocol.",
        },
        "paths": paths,
        "components": { "schemas": schemas },
    })
}

fn operation(method: &MethodDescriptor, tag: &str, schemas: &mut BTreeMap<String, Value>) -> Value {
    let (input, output) = (reference(&method.input(), schemas), reference(&method.output(), schemas));
    let description = comment(&method.parent_file(), method.path());
    let summary = description.split(". ").next().unwrap_or_default().trim_end_matches('.').to_owned();
    let answer = if method.is_server_streaming() { "text/event-stream" } else { "application/json" };
    json!({ "post": {
        "tags": [tag],
        "operationId": format!("{tag}.{}", method.name()),
        "summary": summary,
        "description": description,
        "requestBody": { "required": true, "content": { "application/json": { "schema": input } } },
        "responses": {
            "200": { "description": "The answer", "content": { answer: { "schema": output } } },
            "default": { "description": "A refusal: code, message and details", "content": { "application/json": { "schema": error() } } },
        },
    } })
}

/// A refusal, as the Connect protocol has it.
fn error() -> Value {
    let text = json!({ "type": "string" });
    let detail =
        json!({ "type": "object", "properties": { "type": text, "value": text, "debug": { "type": "object" } } });
    json!({ "type": "object", "properties": { "code": text, "message": text, "details": { "type": "array", "items": detail } } })
}

/// Refers to a message's schema, which is made when it is met first.
fn reference(message: &MessageDescriptor, schemas: &mut BTreeMap<String, Value>) -> Value {
    let name = message.full_name();
    match name {
        "google.protobuf.Timestamp" => return json!({ "type": "string", "format": "date-time" }),
        "google.protobuf.Duration" => return json!({ "type": "string", "description": "Seconds, as `1.5s`" }),
        "google.protobuf.Any" => return json!({ "type": "object", "additionalProperties": true }),
        _ => {}
    }
    if !schemas.contains_key(name) {
        // First, as messages may hold themselves.
        schemas.insert(name.to_owned(), Value::Null);
        let property = |field: FieldDescriptor| {
            let mut schema = schema(&field, schemas);
            let description = comment(&field.parent_file(), field.path());
            if let Some(schema) = schema.as_object_mut().filter(|_| !description.is_empty()) {
                schema.insert("description".to_owned(), description.into());
            }
            (field.json_name().to_owned(), schema)
        };
        let properties: Map<String, Value> = message.fields().map(property).collect();
        let description = comment(&message.parent_file(), message.path());
        let schema = json!({ "type": "object", "description": description, "properties": properties });
        schemas.insert(name.to_owned(), schema);
    }
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

fn schema(field: &FieldDescriptor, schemas: &mut BTreeMap<String, Value>) -> Value {
    if field.is_map() {
        let value = field.kind().as_message().and_then(|entry| entry.get_field_by_name("value"));
        let values = value.map_or(Value::Bool(true), |value| schema(&value, schemas));
        return json!({ "type": "object", "additionalProperties": values });
    }
    let one = match field.kind() {
        Kind::Message(message) => reference(&message, schemas),
        Kind::Enum(kind) => json!({ "type": "string", "enum": names(&kind) }),
        Kind::Bool => json!({ "type": "boolean" }),
        Kind::Double | Kind::Float => json!({ "type": "number" }),
        Kind::String => json!({ "type": "string" }),
        Kind::Bytes => json!({ "type": "string", "contentEncoding": "base64" }),
        // In JSON as texts, as not every reader has so many digits.
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => json!({ "type": "string", "format": "int64" }),
        Kind::Uint64 | Kind::Fixed64 => json!({ "type": "string", "format": "uint64" }),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 | Kind::Uint32 | Kind::Fixed32 => json!({ "type": "integer" }),
    };
    if field.cardinality() == Cardinality::Repeated { json!({ "type": "array", "items": one }) } else { one }
}

fn names(kind: &EnumDescriptor) -> Vec<String> {
    kind.values().map(|value| value.name().to_owned()).collect()
}

/// What the contract says of something.
fn comment(file: &FileDescriptor, path: &[i32]) -> String {
    let info = file.file_descriptor_proto().source_code_info.as_ref();
    let location = info.and_then(|info| info.location.iter().find(|location| location.path == path));
    let text = location.map(|location| location.leading_comments().trim()).unwrap_or_default();
    text.lines().map(str::trim).collect::<Vec<_>>().join(" ")
}

/// A page of the document that needs nothing from elsewhere.
fn page(document: &Value) -> String {
    let mut html = String::from(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Deskpulse: methods</title>\
         <meta name=\"viewport\" content=\"width=device-width\"><style>body{font:16px/1.5 sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}\
         code{background:#eee;padding:0 .2em}td{vertical-align:top;padding:.1em .6em .1em 0}details{margin:.4em 0}</style>\
         <h1>Deskpulse</h1><p>Every method as JSON by POST, and what else can be read here; for generators: \
         <a href=\"/openapi.json\">/openapi.json</a>.</p>",
    );
    let entries = |value: &Value| value.as_object().cloned().unwrap_or_default();
    for (path, operations) in entries(&document["paths"]) {
        for (verb, operation) in entries(&operations) {
            let said = |name: &str| escaped(operation[name].as_str().unwrap_or_default());
            let _ = write!(
                html,
                "<details><summary><code>{} {}</code> {}</summary><p>{}</p><table>",
                verb.to_uppercase(),
                escaped(&path),
                said("summary"),
                said("description")
            );
            let schema = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].as_str();
            let message = schema.and_then(|name| name.rsplit('/').next()).unwrap_or_default();
            let fields = entries(&document["components"]["schemas"][message]["properties"]);
            let fields = fields.into_iter().map(|(name, field)| (name, field["description"].clone()));
            let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
            let parameters = parameters
                .into_iter()
                .map(|it| (it["name"].as_str().unwrap_or_default().to_owned(), it["description"].clone()));
            for (name, description) in fields.chain(parameters) {
                let description = escaped(description.as_str().unwrap_or_default());
                let _ = write!(html, "<tr><td><code>{}</code><td>{description}</tr>", escaped(&name));
            }
            html += "</table></details>";
        }
    }
    html + "</html>"
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
