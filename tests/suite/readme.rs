//! The README's tables are those of the code.

use std::fmt::Write as _;
use std::path::Path;

use deskpulse_core::kpi;
use deskpulse_edge::fault::Reason;

fn reasons() -> String {
    let mut text = String::from("| reason | gRPC code | meaning |\n|---|---|---|\n");
    for reason in Reason::ALL {
        let _ = writeln!(text, "| `{}` | {:?} | {} |", reason.name(), reason.code(), reason.meaning().trim());
    }
    text
}

/// The text with everything between a pair of marks replaced.
fn with_section(text: &str, mark: &str, section: &str) -> String {
    let (open, close) = (format!("<!-- {mark} -->\n"), format!("<!-- /{mark} -->"));
    let (before, rest) = text.split_once(&open).expect("the README has the mark");
    let (_, after) = rest.split_once(&close).expect("the README has the closing mark");
    format!("{before}{open}\n{}\n{close}{after}", section.trim_end())
}

#[test]
fn the_readmes_tables_are_those_of_the_code() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let have = std::fs::read_to_string(&path).expect("the README is readable");
    let want = with_section(&with_section(&have, "metrics", &kpi::markdown()), "reasons", &reasons());
    if std::env::var_os("UPDATE_README").is_some() {
        std::fs::write(&path, &want).expect("the README is writable");
    }
    assert!(have == want, "the README's tables have drifted: run UPDATE_README=1 cargo test readme");
}
