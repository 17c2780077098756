//! The checked-in code is what the generator makes of the `.proto` files.

use std::fs;
use std::path::{Path, PathBuf};

use prost::Message;

const FILES: [&str; 6] = ["aggregation", "config", "event", "ingest", "log", "query"];

fn generate(into: &Path) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files: Vec<PathBuf> = FILES.iter().map(|name| root.join(format!("deskpulse/v1/{name}.proto"))).collect();
    let descriptors = protox::Compiler::new([root])
        .and_then(|mut compiler| {
            compiler.include_source_info(true).include_imports(true).open_files(&files)?;
            Ok(compiler.file_descriptor_set())
        })
        .expect("the .proto files compile");
    tonic_prost_build::configure()
        .build_transport(true)
        .out_dir(into)
        .compile_fds(descriptors.clone())
        .expect("code is generated");
    // The servers of ingest and query once more, with messages of their own.
    let mut servers = descriptors.clone();
    let has_one = |name: &str| ["ingest.proto", "query.proto"].iter().any(|file| name.ends_with(file));
    servers.file.iter_mut().filter(|file| !has_one(file.name())).for_each(|file| file.service.clear());
    let raw = into.join("raw");
    fs::create_dir_all(&raw).expect("a folder for the other server");
    tonic_prost_build::configure()
        .build_client(false)
        .extern_path(".deskpulse.v1", "crate::v1")
        .extern_path(".deskpulse.v1.IngestEventsRequest", "crate::raw::IngestEventsRequest")
        .extern_path(".deskpulse.v1.StreamEventsRequest", "crate::raw::StreamEventsRequest")
        .extern_path(".deskpulse.v1.WatchMetricsResponse", "crate::raw::WatchMetricsResponse")
        .extern_path(".deskpulse.v1.QueryMetricsResponse", "crate::raw::QueryMetricsResponse")
        .extern_path(".deskpulse.v1.BatchQueryMetricsResponse", "crate::raw::BatchQueryMetricsResponse")
        .extern_path(".deskpulse.v1.StreamQueryMetricsResponse", "crate::raw::StreamQueryMetricsResponse")
        .out_dir(&raw)
        .compile_fds(servers)
        .expect("code is generated");
    fs::rename(raw.join("deskpulse.v1.rs"), into.join("raw.rs")).expect("it is moved");
    fs::remove_dir_all(raw).expect("the folder is empty");
    fs::write(into.join("deskpulse.v1.bin"), descriptors.encode_to_vec()).expect("the descriptors are written");
}

#[test]
fn checked_in_code_is_what_the_generator_makes_of_the_protos() {
    let checked_in = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/generated");
    if std::env::var_os("UPDATE_GENERATED").is_some() {
        generate(&checked_in);
    }
    let fresh = Path::new(env!("CARGO_TARGET_TMPDIR")).join("generated");
    fs::create_dir_all(&fresh).expect("a folder for the fresh code");
    generate(&fresh);
    for name in ["deskpulse.v1.rs", "raw.rs", "deskpulse.v1.bin"] {
        let have = fs::read(checked_in.join(name)).unwrap_or_default();
        let want = fs::read(fresh.join(name)).expect("the generator wrote it");
        assert!(have == want, "{name} has drifted: run UPDATE_GENERATED=1 cargo test -p deskpulse-proto");
    }
}

#[test]
fn every_proto_file_is_generated_from() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("deskpulse/v1");
    let mut names: Vec<String> = fs::read_dir(folder)
        .expect("the protos are there")
        .map(|entry| entry.expect("readable").path())
        .map(|path| path.file_stem().expect("a name").to_string_lossy().into_owned())
        .collect();
    names.sort();
    assert_eq!(names, FILES);
}
