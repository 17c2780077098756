//! The layers: which crate may know of which, checked in manifests and in sources.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// A crate of the workspace and what it may know of.
struct Layer {
    folder: &'static str,
    package: &'static str,
    /// Crates of the workspace it may use.
    may_use: &'static [&'static str],
    /// Crates of others it must do without.
    without: &'static [&'static str],
    /// Paths that may not stand in its sources, tests apart: wherever these names follow each other, or a path ends so.
    never: &'static [&'static str],
}

const PROTO: &str = "deskpulse-proto";
const CORE: &str = "deskpulse-core";
const DISK: &str = "deskpulse-disk";
const LOG: &str = "deskpulse-log";
const STORE: &str = "deskpulse-store";
const EDGE: &str = "deskpulse-edge";
const TEXT: &str = "deskpulse-text";
const GRPC: &[&str] = &["http", "hyper", "prost", "prost-types", "tonic", "tonic-prost", "tonic-types", "tower"];

/// As in ARCHITECTURE.md. The binary, `services/main.rs`, may use all.
const LAYERS: [Layer; 13] = [
    Layer { folder: "proto", package: PROTO, may_use: &[], without: &["tokio"], never: &[] },
    Layer {
        folder: "core",
        package: CORE,
        may_use: &[],
        without: &[
            "http",
            "hyper",
            "prost",
            "prost-types",
            "tokio",
            "tokio-stream",
            "tokio-util",
            "tonic",
            "tonic-prost",
            "tonic-types",
            "tower",
            "tracing",
        ],
        never: &[
            "SystemTime",
            "time::Instant",
            "std::env",
            "std::fs",
            "std::io",
            "std::net",
            "std::process",
            "std::thread",
            "std::*",
            "Timestamp::now",
            "Zoned::now",
            "TimeZone::system",
        ],
    },
    Layer { folder: "services/disk", package: DISK, may_use: &[], without: GRPC, never: &[] },
    Layer { folder: "services/log", package: LOG, may_use: &[CORE, DISK], without: GRPC, never: &[] },
    Layer { folder: "services/store", package: STORE, may_use: &[DISK], without: GRPC, never: &[] },
    Layer { folder: "services/edge", package: EDGE, may_use: &[PROTO], without: &[], never: &[] },
    Layer {
        folder: "services/ingest",
        package: "deskpulse-ingest",
        may_use: &[PROTO, CORE, LOG, EDGE],
        without: &[],
        never: &["deskpulse_core::kpi"],
    },
    Layer {
        folder: "services/aggregation",
        package: "deskpulse-aggregation",
        may_use: &[PROTO, CORE, DISK, STORE, EDGE],
        without: &[],
        never: &["ingest_service_client", "ingest_service_server", "query_service_client", "query_service_server"],
    },
    Layer {
        folder: "services/query",
        package: "deskpulse-query",
        may_use: &[PROTO, CORE, EDGE],
        without: &[],
        never: &["log_service_client", "log_service_server"],
    },
    Layer {
        folder: "services/http",
        package: "deskpulse-http",
        may_use: &[PROTO, TEXT, EDGE],
        without: &[],
        never: &[],
    },
    Layer { folder: "services/text", package: TEXT, may_use: &[PROTO], without: &["tokio", "tonic"], never: &[] },
    Layer { folder: "services/cli", package: "deskpulse-cli", may_use: &[PROTO, TEXT, EDGE], without: &[], never: &[] },
    Layer { folder: "services/load", package: "deskpulse-load", may_use: &[PROTO, EDGE], without: &[], never: &[] },
];

/// What of a crate goes against its layer: dependencies in its manifest, paths in its sources.
fn faults(layer: &Layer, manifest: &str, sources: &[(String, String)]) -> Vec<String> {
    let manifest: toml::Table = manifest.parse().expect("a manifest");
    let mut faults = Vec::new();
    let forbidden = |name: &str| {
        let of_ours = name == "deskpulse" || name.starts_with("deskpulse-");
        (of_ours && name != layer.package && !layer.may_use.contains(&name)) || layer.without.contains(&name)
    };
    for dependency in dependencies(&manifest).into_iter().filter(|name| forbidden(name)) {
        faults.push(format!("{} depends on {dependency}", layer.package));
    }
    for (file, source) in sources {
        for path in paths(source) {
            let crate_name = path.first().map(|name| name.replace('_', "-")).unwrap_or_default();
            let never = layer.never.iter().any(|never| {
                let never: Vec<&str> = never.split("::").collect();
                path.windows(never.len()).any(|part| part == never.as_slice())
            });
            if never || forbidden(&crate_name) {
                faults.push(format!("{file} uses {}", path.join("::")));
            }
        }
    }
    faults
}

/// The packages of all dependency tables, those of tests, build and single targets included.
fn dependencies(manifest: &toml::Table) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (key, value) in manifest {
        let Some(table) = value.as_table() else { continue };
        match key.as_str() {
            "dependencies" | "dev-dependencies" | "build-dependencies" => {
                for (name, dependency) in table {
                    let package = dependency.get("package").and_then(toml::Value::as_str);
                    names.insert(package.unwrap_or(name).to_owned());
                }
            }
            "target" => names.extend(table.values().filter_map(toml::Value::as_table).flat_map(dependencies)),
            _ => {}
        }
    }
    names
}

/// Every path in a source, those of `use` written out; comments, literals and `#[cfg(test)]` modules left out.
fn paths(source: &str) -> Vec<Vec<String>> {
    let tokens = without_tests(&tokens(source));
    let mut paths = Vec::new();
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        // `use<'a>` in a type captures and imports nothing.
        if token == "use" && tokens.get(at + 1).is_some_and(|next| next != "<") {
            at += 1;
            tree(&tokens, &mut at, &[], &mut paths);
        } else if is_name(token) {
            let mut path = vec![token.clone()];
            while tokens.get(at + 1).is_some_and(|next| next == "::")
                && tokens.get(at + 2).is_some_and(|it| is_name(it))
            {
                path.push(tokens[at + 2].clone());
                at += 2;
            }
            paths.push(path);
            at += 1;
        } else {
            at += 1;
        }
    }
    paths
}

/// Reads one tree of a `use`, such as `std::{fs, time::{self, Instant as Now}}`.
fn tree(tokens: &[String], at: &mut usize, prefix: &[String], paths: &mut Vec<Vec<String>>) {
    let mut path = prefix.to_vec();
    while let Some(token) = tokens.get(*at) {
        *at += 1;
        match token.as_str() {
            "::" => {}
            "{" => {
                while tokens.get(*at).is_some_and(|next| next != "}") {
                    tree(tokens, at, &path, paths);
                    let next = tokens.get(*at).map_or("", String::as_str);
                    assert!(next == "," || next == "}", "no import goes on with {next:?}");
                    *at += usize::from(next == ",");
                }
                *at += 1;
                return;
            }
            "as" => *at += 1,
            "," | "}" | ";" => {
                *at -= 1;
                break;
            }
            "self" if !path.is_empty() => {}
            name => path.push(name.to_owned()),
        }
    }
    paths.push(path);
}

fn is_name(token: &str) -> bool {
    token.starts_with(|first: char| first.is_alphabetic() || first == '_')
}

/// Names, `::` and single characters.
fn tokens(source: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let mut rest = source;
    while let Some(first) = rest.chars().next() {
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if let Some(length) = literal(rest) {
            length
        } else if is_name(rest) {
            let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            tokens.push(rest[..end].to_owned());
            end
        } else {
            let length = if rest.starts_with("::") { 2 } else { first.len_utf8() };
            if !first.is_whitespace() {
                tokens.push(rest[..length].to_owned());
            }
            length
        };
        rest = &rest[length..];
    }
    tokens
}

/// The length of the text, bytes or character that the source begins with.
fn literal(source: &str) -> Option<usize> {
    let unprefixed = source.trim_start_matches(['b', 'c', 'r']);
    let prefix = source.len() - unprefixed.len();
    let hashes = unprefixed.len() - unprefixed.trim_start_matches('#').len();
    if source[..prefix].contains('r') && unprefixed[hashes..].starts_with('"') {
        let close = format!("\"{}", "#".repeat(hashes));
        let from = prefix + hashes + 1;
        return Some(source[from..].find(&close).map_or(source.len(), |end| from + end + close.len()));
    }
    let quote = unprefixed.chars().next().filter(|quote| *quote == '"' || *quote == '\'')?;
    if prefix > 2 {
        return None;
    }
    let mut escaped = false;
    for (index, c) in unprefixed.char_indices().skip(1) {
        if c == quote && !escaped {
            return Some(prefix + index + 1);
        }
        // A lifetime is no character.
        if quote == '\'' && index > 1 && !unprefixed[1..].starts_with('\\') {
            return None;
        }
        escaped = c == '\\' && !escaped;
    }
    None
}

/// Leaves out `#[cfg(test)]` and what it stands before.
fn without_tests(tokens: &[String]) -> Vec<String> {
    const MARK: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let mut kept = Vec::new();
    let mut rest = tokens;
    while let Some(first) = rest.first() {
        if !rest.starts_with(&MARK.map(str::to_owned)) {
            kept.push(first.clone());
            rest = &rest[1..];
            continue;
        }
        let mut depth = 0;
        let end = rest.iter().position(|token| {
            depth += i32::from(token == "{") - i32::from(token == "}");
            depth == 0 && (token == "}" || token == ";")
        });
        rest = &rest[end.map_or(rest.len(), |end| end + 1)..];
    }
    kept
}

fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> String {
    let path = project().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The Rust files of a folder and of those in it, by path from the project's folder, with their texts.
fn sources(folder: &Path) -> Vec<(String, String)> {
    let mut entries: Vec<PathBuf> =
        fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()).collect();
    entries.sort();
    let mut found = Vec::new();
    for path in entries {
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(project()).expect("within the project").to_string_lossy().into_owned();
            // A file of its own that only tests have.
            if path.file_stem().is_some_and(|name| name != "tests") {
                found.push((name, read(&path)));
            }
        }
    }
    found
}

fn members() -> Vec<String> {
    let manifest: toml::Table = read("Cargo.toml").parse().expect("a manifest");
    let members = manifest["workspace"]["members"].as_array().expect("members");
    members.iter().map(|member| member.as_str().expect("a folder").to_owned()).collect()
}

#[test]
fn every_crate_keeps_to_its_layer() {
    for layer in &LAYERS {
        let manifest = read(Path::new(layer.folder).join("Cargo.toml"));
        let sources = sources(&project().join(layer.folder).join("src"));
        assert!(!sources.is_empty(), "{} has no sources", layer.folder);
        let faults = faults(layer, &manifest, &sources);
        assert!(faults.is_empty(), "against the layers of ARCHITECTURE.md:\n{}", faults.join("\n"));
    }
}

#[test]
fn no_crate_is_left_out_of_the_layers() {
    let folders: BTreeSet<&str> = LAYERS.iter().map(|layer| layer.folder).collect();
    assert_eq!(members().iter().map(String::as_str).collect::<BTreeSet<_>>(), folders);
    for layer in &LAYERS {
        let manifest: toml::Table = read(Path::new(layer.folder).join("Cargo.toml")).parse().expect("a manifest");
        assert_eq!(manifest["package"]["name"].as_str(), Some(layer.package));
    }
}

#[test]
fn architecture_md_shows_the_same_layers() {
    let page = read("ARCHITECTURE.md");
    for layer in &LAYERS {
        let used: Vec<&str> =
            LAYERS.iter().filter(|it| layer.may_use.contains(&it.package)).map(|it| it.folder).collect();
        let row = page.lines().find_map(|line| line.strip_prefix(&format!("| `{}` |", layer.folder)));
        let row = row.unwrap_or_else(|| panic!("the page has no row for {}", layer.folder));
        let shown: BTreeSet<&str> =
            row.split('|').next().expect("a cell").split(',').map(str::trim).filter(|name| *name != "–").collect();
        let used = used.into_iter().map(|folder| folder.trim_start_matches("services/")).collect();
        assert_eq!(shown, used, "{}", layer.folder);
    }
}

#[test]
fn services_are_introduced_to_each_other_by_the_binary_alone() {
    let services = ["deskpulse-ingest", "deskpulse-aggregation", "deskpulse-query"];
    let mut users = BTreeMap::<&str, Vec<String>>::new();
    for folder in members() {
        let manifest: toml::Table = read(Path::new(&folder).join("Cargo.toml")).parse().expect("a manifest");
        for service in services.into_iter().filter(|service| dependencies(&manifest).contains(*service)) {
            users.entry(service).or_default().push(folder.clone());
        }
    }
    assert_eq!(users, BTreeMap::new());
    let binary: toml::Table = read("Cargo.toml").parse().expect("a manifest");
    assert!(services.into_iter().all(|service| dependencies(&binary).contains(service)));
}

#[test]
fn a_forbidden_dependency_or_import_is_found() {
    let layer = |package: &str| LAYERS.iter().find(|layer| layer.package == package).expect("a layer");
    let manifest = |lines: &str| format!("[package]\nname = \"made-up\"\n{lines}\n");
    let check = |package: &str, lines: &str, source: &str| {
        faults(layer(package), &manifest(lines), &[("made_up.rs".to_owned(), source.to_owned())])
    };
    for (package, lines, fault) in [
        (CORE, "[dependencies]\ntokio.workspace = true", "tokio"),
        (CORE, "[dependencies]\nwire = { package = \"prost\", version = \"1\" }", "prost"),
        (CORE, "[dependencies.deskpulse-proto]\nworkspace = true", PROTO),
        (CORE, "[target.'cfg(unix)'.dependencies]\ntonic = \"1\"", "tonic"),
        (LOG, "[dependencies]\ntonic.workspace = true", "tonic"),
        (EDGE, "[dependencies]\ndeskpulse-core.workspace = true", CORE),
        ("deskpulse-cli", "[dev-dependencies]\ndeskpulse-ingest.workspace = true", "deskpulse-ingest"),
        ("deskpulse-query", "[dependencies]\ndeskpulse-log.workspace = true", LOG),
        ("deskpulse-ingest", "[build-dependencies]\ndeskpulse-query.workspace = true", "deskpulse-query"),
        ("deskpulse-aggregation", "[dependencies]\ndeskpulse.workspace = true", "deskpulse"),
    ] {
        assert_eq!(check(package, lines, ""), [format!("{package} depends on {fault}")]);
    }
    for (package, source, path) in [
        (CORE, "use tokio::sync::watch;", "tokio::sync::watch"),
        (CORE, "pub(crate) use std::time::SystemTime;", "std::time::SystemTime"),
        (CORE, "use std::{fmt, time::{self, Duration, Instant as Now}};", "std::time::Instant"),
        (CORE, "use std::{\n    // files\n    fs,\n    sync::Arc,\n};", "std::fs"),
        (CORE, "fn f<'a>(it: &'a str) { std::thread::spawn(|| it.len()); }", "std::thread::spawn"),
        (CORE, "fn f() -> char { let c = '\"'; std::net::host(); c }", "std::net::host"),
        (CORE, "fn f() { let it = \"\\\"\"; ::std::io::stdout(); }", "std::io::stdout"),
        (CORE, "#[cfg(test)]\nmod tests { fn g() { {} } }\nfn f() { jiff::Timestamp::now(); }", "jiff::Timestamp::now"),
        (CORE, "use std::*;", "std::*"),
        (CORE, "type T = deskpulse_proto::v1::Event;", "deskpulse_proto::v1::Event"),
        (LOG, "use tonic::Status;", "tonic::Status"),
        ("deskpulse-ingest", "use deskpulse_core::{time, kpi::CATALOGUE};", "deskpulse_core::kpi::CATALOGUE"),
        ("deskpulse-query", "use deskpulse_aggregation::Aggregation;", "deskpulse_aggregation::Aggregation"),
        (
            "deskpulse-query",
            "use deskpulse_proto::v1::log_service_client::LogServiceClient;",
            "deskpulse_proto::v1::log_service_client::LogServiceClient",
        ),
    ] {
        assert_eq!(check(package, "", source), [format!("made_up.rs uses {path}")], "{source}");
    }
    for (package, source) in [
        (CORE, "//! Not `std::fs`.\n/* use tokio::net; */ use std::time::Duration;"),
        (CORE, "const TEXT: &str = \"use std::fs;\"; const RAW: &str = r#\"\"std::fs::read\"#;"),
        (CORE, "use crate::time::Timestamp; fn thread(now: i64) -> i64 { now }"),
        (CORE, "#[cfg(test)]\nmod tests {\n    use std::thread;\n    fn f() { thread::spawn(|| { }); }\n}"),
        (CORE, "#[cfg(test)]\nuse std::fs;\nuse std::fmt;"),
        (CORE, "fn f<'a>(it: &'a [u8]) -> impl Iterator<Item = u8> + use<'a> { it.iter().map(|it| { *it }) }"),
        (EDGE, "use deskpulse_proto::FILE_DESCRIPTOR_SET; use tonic::Status;"),
        ("deskpulse-ingest", "use deskpulse_core::partition::route; use deskpulse_log::EventLog;"),
    ] {
        assert_eq!(check(package, "[dependencies]\nthiserror = \"2\"", source), [""; 0], "{source}");
    }
}

#[test]
fn the_top_level_holds_what_it_should_and_nothing_else() {
    let must = [
        ".ci",
        ".gitignore",
        "ARCHITECTURE.md",
        "CHANGELOG.md",
        "Cargo.lock",
        "Cargo.toml",
        "LICENSE-APACHE",
        "LICENSE-MIT",
        "README.md",
        "benches",
        "clippy.toml",
        "core",
        "proto",
        "rustfmt.toml",
        "services",
        "tests",
    ];
    // What git and cargo keep for themselves, and what `deskpulse serve` makes.
    let may = [".git", "target", "deskpulse-data"];
    let mut have: BTreeSet<String> = fs::read_dir(project())
        .expect("the project's folder")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    have.retain(|name| !may.contains(&name.as_str()));
    assert_eq!(have, must.iter().map(ToString::to_string).collect());
}

#[test]
fn every_crate_has_the_workspaces_versions_and_lints() {
    let workspace: toml::Table = read("Cargo.toml").parse().expect("a manifest");
    for (name, dependency) in workspace["workspace"]["dependencies"].as_table().expect("a table") {
        assert!(dependency.get("package").is_none(), "{name} goes by another name, which would hide it from its layer");
    }
    for folder in members().into_iter().chain([String::new()]) {
        let manifest: toml::Table = read(Path::new(&folder).join("Cargo.toml")).parse().expect("a manifest");
        let said_by_workspace =
            |value: &toml::Value| value.get("workspace").and_then(toml::Value::as_bool) == Some(true);
        assert!(said_by_workspace(&manifest["lints"]), "{folder}: lints are the workspace's");
        for key in ["version", "edition", "rust-version", "license", "publish"] {
            assert!(said_by_workspace(&manifest["package"][key]), "{folder}: {key} is the workspace's");
        }
        for table in ["dependencies", "dev-dependencies", "build-dependencies"] {
            for (name, dependency) in manifest.get(table).and_then(toml::Value::as_table).into_iter().flatten() {
                assert!(said_by_workspace(dependency), "{folder}: {name} has the workspace's version");
            }
        }
    }
}
