//! What is done with a data folder while no server has it open: looking it over, repairing it, exporting it.
//!
//! The real binary on real files. Every case works on a copy of a folder that a server wrote and closed.

#[path = "offline/export.rs"]
mod export;
#[path = "offline/folder.rs"]
mod folder;

use std::process::Output;

use serde_json::Value;

use crate::harness::Process;
use folder::{Folder, MESSAGES, assert_says, lines, text};

/// What a check says of itself in JSON, and its exit code.
fn checked(folder: &Folder, more: &[&str]) -> (Option<i32>, Value) {
    let output = folder.deskpulse("check", &[&["--output", "json"], more].concat());
    let value = serde_json::from_slice(&output.stdout);
    (output.status.code(), value.unwrap_or_else(|error| panic!("{error}: {}", text(&output))))
}

/// The events in the log, as a check counts them.
fn events_in(found: &Value) -> u64 {
    found["log"]["events"].as_u64().expect("a count")
}

/// Checks that a start is refused, says this and changes nothing in the log.
fn assert_no_start(folder: &Folder, says: &str, what: &str) {
    let before = folder.bytes_in("log");
    let (code, said) = Process::refused(&folder.arguments());
    assert_eq!(code, Some(1), "{what}: {said}");
    assert!(said.contains(says), "{what}: {says} is missing in\n{said}");
    assert!(folder.bytes_in("log") == before, "{what}: a refused start changed the log");
}

/// Checks that what a start does not read ends it as soon as it is needed, by name: here at once, as there is no store.
fn assert_ends(folder: &Folder, name: &str, what: &str) {
    let folder = folder.copy();
    std::fs::remove_dir_all(folder.path("aggregation")).expect("removed");
    let (code, said) = Process::ended(&folder.arguments());
    assert_eq!(code, Some(1), "{what}: {said}");
    for says in ["the log is damaged: ", name, "is damaged at byte", "deskpulse check --repair"] {
        assert!(said.contains(says), "{what}: {says} is missing in\n{said}");
    }
}

fn assert_code(output: &Output, code: i32, what: &str) {
    assert_eq!(output.status.code(), Some(code), "{what}: {}", text(output));
}

#[test]
fn a_sound_folder_is_looked_over_without_a_change_to_it() {
    let folder = Folder::written();
    let before = folder.bytes();
    let output = folder.deskpulse("check", &[]);
    assert_code(&output, 0, "a sound folder");
    let meaning = folder.store().file_name().expect("a name").to_string_lossy().into_owned();
    assert_says(&output, &["partition", "head", "store at", "bytes an event", "acme", "sound: every byte", &meaning]);

    let (code, found) = checked(&folder, &[]);
    assert_eq!((code, &found["sound"], &found["damage"]), (Some(0), &true.into(), &Value::Array(Vec::new())));
    assert_eq!(events_in(&found), MESSAGES);
    let forms: Vec<_> = found["log"]["segments"].as_array().expect("a list").iter().map(|it| &it["form"]).collect();
    assert!(forms.contains(&&"compressed".into()) && forms.contains(&&"raw".into()), "{forms:?}");
    assert!(found["log"]["compressed_events"].as_u64().is_some_and(|events| (1..MESSAGES).contains(&events)));
    let counts = serde_json::json!([{ "tenant": "acme", "settings": 1, "calendars": 2, "sla_policies": 0 }]);
    assert_eq!(found["log"]["configuration"], counts);
    for partition in found["log"]["partitions"].as_array().expect("a list") {
        assert_eq!((&partition["first"], &partition["blocks"]), (&1.into(), &partition["head"]), "{partition}");
        assert_eq!(partition["store_at"], partition["head"], "the last checkpoint has all: {partition}");
    }
    assert!(folder.bytes() == before, "a check changed a byte");

    // Repairing what is sound changes nothing either.
    let (code, found) = checked(&folder, &["--repair"]);
    assert_eq!((code, &found["repair"]["quarantined"]), (Some(0), &Value::Array(Vec::new())), "{found}");
    assert!(folder.bytes() == before, "a repair changed a sound folder");
}

#[test]
fn what_a_server_has_open_is_neither_checked_nor_repaired_nor_exported_nor_served_twice() {
    let folder = Folder::written();
    let mut process = folder.serve();
    let export = folder.deskpulse("export", &[]);
    for (output, what) in [
        (folder.deskpulse("check", &[]), "check"),
        (folder.deskpulse("check", &["--repair"]), "repair"),
        (export, "export"),
    ] {
        assert_code(&output, 1, what);
        assert_says(&output, &["in use by another process", "hint: stop the server"]);
        assert!(output.stdout.is_empty(), "{what}: {}", text(&output));
    }
    let (code, said) = Process::refused(&folder.arguments());
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("in use by another process"), "{said}");
    assert_eq!(folder.counted_by(&process), MESSAGES, "the first is not disturbed");
    assert_eq!(process.terminate("-TERM"), Some(0));
    assert_code(&folder.deskpulse("check", &[]), 0, "after the server has gone");
}

/// Does something to a folder, and returns the name of the file it did it to.
type Harm = fn(&Folder) -> String;

/// Something done to a log, and what is then said.
struct Wreck {
    what: &'static str,
    /// Does it, and returns the file that must be named.
    harm: Harm,
    /// Where the damage begins, if that must be said exactly.
    offset: Option<u64>,
    /// What a start that it stops says; `None` where a start does not see it, which reads no more of a compressed segment than
    /// what that says of itself.
    stops: Option<&'static str>,
    /// Whether some events must be lost, when they are made from the log alone.
    loses: bool,
}

/// Where the payload of a raw segment's first frame begins.
const FIRST_PAYLOAD: u64 = 64 + 44;

/// What a start says of most damage.
const REPAIR: &str = "deskpulse check --repair";

const WRECKS: [Wreck; 13] = [
    Wreck {
        what: "a flipped bit in a compressed segment",
        harm: |folder| folder.flip(&folder.sealed(), |bytes| bytes / 2),
        offset: None,
        stops: None,
        loses: true,
    },
    Wreck {
        what: "a flipped bit in a raw segment",
        harm: |folder| folder.flip(&folder.raw(), |_| FIRST_PAYLOAD + 5),
        offset: Some(64),
        stops: Some(REPAIR),
        loses: true,
    },
    Wreck {
        what: "a flipped bit in the header of a raw segment",
        harm: |folder| folder.flip(&folder.raw(), |_| 40),
        offset: Some(0),
        stops: Some(REPAIR),
        loses: false,
    },
    Wreck {
        what: "half of a compressed segment cut off",
        harm: |folder| folder.cut(&folder.sealed(), |bytes| bytes / 2),
        offset: None,
        stops: Some(REPAIR),
        loses: true,
    },
    Wreck {
        what: "a raw segment cut in its first frame",
        harm: |folder| folder.cut(&folder.raw(), |_| FIRST_PAYLOAD + 10),
        offset: None,
        stops: Some(REPAIR),
        loses: true,
    },
    Wreck {
        what: "an empty compressed segment",
        harm: |folder| folder.cut(&folder.sealed(), |_| 0),
        offset: None,
        stops: Some(REPAIR),
        loses: true,
    },
    Wreck {
        what: "an empty raw segment",
        harm: |folder| folder.cut(&folder.raw(), |_| 0),
        offset: None,
        stops: Some(REPAIR),
        loses: true,
    },
    Wreck {
        what: "a missing compressed segment",
        harm: |folder| {
            let name = folder.remove(&folder.sealed());
            name.replace("sealed", "log")
        },
        offset: Some(0),
        stops: Some(REPAIR),
        loses: true,
    },
    Wreck {
        what: "a missing raw segment",
        harm: |folder| folder.remove(&folder.raw()),
        offset: None,
        stops: Some(REPAIR),
        loses: true,
    },
    Wreck {
        what: "two segments in each other's place",
        harm: |folder| folder.swap(&folder.sealed(), &folder.raw()),
        offset: None,
        stops: Some(REPAIR),
        loses: true,
    },
    Wreck {
        what: "a flipped bit in log.meta",
        harm: |folder| folder.flip(&folder.path("log/log.meta"), |_| 20),
        offset: Some(0),
        stops: Some(REPAIR),
        loses: false,
    },
    Wreck {
        what: "an empty log.meta",
        harm: |folder| folder.cut(&folder.path("log/log.meta"), |_| 0),
        offset: Some(0),
        stops: Some("log.meta does not belong to a deskpulse log"),
        loses: false,
    },
    Wreck {
        what: "a missing log.meta",
        harm: |folder| folder.remove(&folder.path("log/log.meta")),
        offset: Some(0),
        stops: Some(REPAIR),
        loses: false,
    },
];

#[test]
fn damage_to_a_log_is_named_stops_the_start_and_once_repaired_all_that_is_left_is_answered() {
    let written = Folder::written();
    for Wreck { what, harm, offset, stops, loses } in WRECKS {
        let folder = written.copy();
        let name = harm(&folder);
        let before = folder.bytes();
        let (code, found) = checked(&folder, &[]);
        assert_eq!(code, Some(1), "{what}: {found}");
        let damage = found["damage"].as_array().expect("a list");
        let of_store = |damage: &Value| damage["file"].as_str().is_some_and(|file| file.contains("meaning-"));
        let named = |damage: &Value| damage["file"].as_str().is_some_and(|file| file.ends_with(&name));
        // What is only too short has nothing wrong in it: the store tells.
        assert!(damage.iter().any(|damage| named(damage) || of_store(damage)), "{what}: {name} in {found:#}");
        assert!(damage.iter().all(|damage| damage["remedy"].as_str().is_some_and(|it| it.starts_with("--repair"))));
        if let Some(offset) = offset {
            assert!(damage.iter().any(|it| named(it) && it["offset"] == offset), "{what}: {offset} in {found:#}");
        }
        let table = folder.deskpulse("check", &[]);
        assert_code(&table, 1, what);
        assert_says(&table, &["Damage", "--repair "]);
        assert!(folder.bytes() == before, "{what}: a check changed a byte");
        match stops {
            Some(said) => assert_no_start(&folder, said, what),
            None => assert_ends(&folder, &name, what),
        }

        let damaged = folder.bytes_in("log");
        let repair = folder.deskpulse("check", &["--repair"]);
        assert_code(&repair, 0, what);
        let quarantine = folder.bytes_in("log/quarantine");
        for copy in quarantine.values() {
            assert!(damaged.values().any(|bytes| bytes == copy), "{what}: the quarantine holds what was not there");
        }
        for name in quarantine.keys() {
            assert_says(&repair, &[&format!("quarantined: {}", name.display())]);
        }
        let (code, found) = checked(&folder, &[]);
        assert_eq!((code, &found["sound"]), (Some(0), &true.into()), "{what}: {found:#}");
        let left = events_in(&found);
        assert_eq!(left < MESSAGES, loses, "{what}: {left} of {MESSAGES} are left");
        if loses {
            assert_says(&repair, &["lost: partition"]);
        }

        // The store had all; from the log alone comes what is left of it.
        let mut process = folder.serve();
        assert_eq!(folder.counted_by(&process), MESSAGES, "{what}: with the store");
        assert_eq!(process.terminate("-TERM"), Some(0), "{what}");
        std::fs::remove_dir_all(folder.path("aggregation")).expect("removed");
        let process = folder.serve();
        assert_eq!(folder.counted_by(&process), left, "{what}: from the log alone");
    }
}

#[test]
fn a_damaged_store_or_snapshot_is_named_and_the_next_start_answers_as_before() {
    let written = Folder::written();
    let wrecks: [(&str, Harm, bool); 6] = [
        ("a flipped bit in every page of the store", |folder| folder.riddle(&folder.store().join("store.redb")), true),
        ("a store without its end", |folder| folder.cut(&folder.store().join("store.redb"), |bytes| bytes / 2), true),
        ("an empty store", |folder| folder.cut(&folder.store().join("store.redb"), |_| 0), true),
        ("a flipped bit in a snapshot", |folder| folder.flip(&folder.snapshot(), |bytes| bytes / 2), false),
        ("half a snapshot", |folder| folder.cut(&folder.snapshot(), |bytes| bytes / 2), false),
        (
            "a damaged store and a damaged snapshot",
            |folder| {
                folder.flip(&folder.snapshot(), |bytes| bytes / 2);
                folder.cut(&folder.store().join("store.redb"), |bytes| bytes / 2)
            },
            true,
        ),
    ];
    for (what, wreck, of_store) in wrecks {
        let folder = written.copy();
        let name = wreck(&folder);
        let before = folder.bytes();
        let output = folder.deskpulse("check", &[]);
        assert_code(&output, 1, what);
        let remedy = if of_store { "the next start sets it aside" } else { "the next start does without it" };
        assert_says(&output, &[&name, remedy]);
        let (_, found) = checked(&folder, &[]);
        assert_eq!(found["stores"][0]["state"], if of_store { "damaged" } else { "sound" }, "{what}: {found:#}");
        assert!(folder.bytes() == before, "{what}: a check changed a byte");
        // There is nothing to repair, and nothing is in the way of a start.
        assert_code(&folder.deskpulse("check", &["--repair"]), 0, what);
        assert!(folder.bytes() == before, "{what}: a repair changed what it need not");

        let mut process = folder.serve();
        assert_eq!(folder.counted_by(&process), MESSAGES, "{what}");
        assert_eq!(process.terminate("-TERM"), Some(0), "{what}");
        let set_aside = folder.store().join("store.damaged-1");
        assert_eq!(set_aside.exists(), of_store, "{what}: the damaged store is kept");
    }
}

#[test]
fn a_folder_of_a_newer_version_is_refused_unchanged() {
    let written = Folder::written();
    let ages: [(&str, Harm); 3] = [
        ("log.meta", |folder| folder.age(&folder.path("log/log.meta"), 8, 24)),
        ("a raw segment", |folder| folder.age(&folder.raw(), 8, 60)),
        ("a compressed segment", |folder| folder.age(&folder.sealed(), 8, 60)),
    ];
    for (what, age) in ages {
        let folder = written.copy();
        let name = age(&folder);
        let before = folder.bytes();
        for arguments in [&[][..], &["--repair"]] {
            let output = folder.deskpulse("check", arguments);
            assert_code(&output, 1, what);
            assert_says(&output, &[&name, "version 77", "newer program"]);
        }
        assert!(folder.bytes() == before, "{what}: what is not understood was changed");
        assert_no_start(&folder, &format!("{name} has format version 77"), what);
    }
    let folder = written.copy();
    let store = folder.store().join("store.redb");
    folder.age(&store, 8, 12);
    let before = folder.bytes();
    let output = folder.deskpulse("check", &["--repair"]);
    assert_code(&output, 1, "a store");
    assert_says(&output, &["version 77", "newer version"]);
    let (code, said) = Process::refused(&folder.arguments());
    assert!(code == Some(1) && said.contains("version 77"), "{said}");
    assert!(folder.bytes() == before, "a store of a newer version was changed");
}

#[test]
fn a_folder_that_cannot_be_read_or_written_is_refused_with_its_name() {
    let folder = Folder::empty();
    for (command, more) in [("check", &[][..]), ("check", &["--repair"]), ("export", &[])] {
        let output = folder.deskpulse(command, more);
        assert_code(&output, 1, "an empty folder");
        assert_says(&output, &[folder.root(), "hint:"]);
    }
    // A file where a folder should be: even the root user cannot write into it.
    std::fs::write(folder.path("log"), "a file").expect("written");
    for command in ["check", "export"] {
        let output = folder.deskpulse(command, &[]);
        assert_code(&output, 1, command);
        assert_says(&output, &[&folder.path("log").to_string_lossy(), "hint:"]);
    }
    let (code, said) = Process::refused(&folder.arguments());
    assert!(code == Some(1) && said.contains(&*folder.path("log").to_string_lossy()), "{said}");
    assert_eq!(std::fs::read_to_string(folder.path("log")).expect("it is there"), "a file");
    // Nobody makes a folder there.
    let (code, said) = Process::refused(&["--listen", "127.0.0.1:0", "--data-dir", "/proc/deskpulse"]);
    assert!(code == Some(1) && said.contains("/proc/deskpulse"), "{said}");
}

#[test]
fn a_folder_mounted_read_only_is_checked_and_exported_and_not_served() {
    let folder = Folder::written();
    let Some(_mount) = folder.read_only() else {
        eprintln!("skipped: a_folder_mounted_read_only_is_checked_and_exported_and_not_served: no right to mount");
        return;
    };
    let before = folder.bytes();
    let (code, found) = checked(&folder, &[]);
    assert_eq!((code, events_in(&found)), (Some(0), MESSAGES), "{found:#}");
    let output = folder.deskpulse("export", &[]);
    assert_code(&output, 0, "export");
    assert_eq!(lines(&output), MESSAGES);
    let output = folder.deskpulse("check", &["--repair"]);
    assert_code(&output, 1, "repair");
    assert_says(&output, &["Read-only file system"]);
    let (code, said) = Process::refused(&folder.arguments());
    assert!(code == Some(1) && said.contains("may not be written"), "{said}");
    assert!(folder.bytes() == before);
}

#[test]
fn another_log_beside_a_store_is_named_as_such_and_not_called_damaged() {
    let folder = Folder::written();
    let id_in = |folder: &Folder| {
        let meta = std::fs::read(folder.path("log/log.meta")).expect("readable");
        format!("{:016x}", u64::from_le_bytes(meta[16..24].try_into().expect("eight bytes")))
    };
    let own = id_in(&folder);
    let (log, store) = (folder.path("log"), folder.store());
    let [log, store] = [&log, &store].map(|path| path.to_string_lossy().into_owned());
    std::fs::rename(folder.path("log"), folder.path("kept")).expect("moved");
    let follows = format!("the store in {store} follows log {own}, and {log} holds ");
    let hint = format!("hint: put that log back into {log}, or move {store} elsewhere");

    // An empty folder, which stays empty.
    let (code, said) = Process::refused(&folder.arguments());
    println!("{said}");
    assert!(code == Some(1) && said.contains(&format!("{follows}no log")) && said.contains(&hint), "{said}");
    assert!(!folder.path("log/log.meta").exists(), "a start that is refused makes no log");

    // A log of fewer blocks, and one of another number of partitions.
    for partitions in ["3", "2"] {
        let other = Folder::empty();
        let arguments = ["--listen", "127.0.0.1:0", "--data-dir", other.root(), "--partitions", partitions];
        assert_eq!(Process::serve(&arguments).terminate("-TERM"), Some(0));
        let _ = std::fs::remove_dir_all(folder.path("log"));
        std::fs::rename(other.path("log"), folder.path("log")).expect("moved");
        let found = format!("{follows}log {}", id_in(&folder));
        let before = folder.bytes_in("log");
        let (code, said) = Process::refused(&folder.arguments());
        println!("{said}");
        assert!(code == Some(1) && said.contains(&found) && said.contains(&hint), "{said}");
        assert!(!said.contains("damaged"), "{said}");
        assert!(folder.bytes_in("log") == before, "a start that is refused changed the log");
    }

    // Either way out works.
    let elsewhere = folder.copy();
    std::fs::remove_dir_all(elsewhere.store()).expect("removed");
    let process = Process::serve(&["--listen", "127.0.0.1:0", "--data-dir", elsewhere.root()]);
    assert_eq!(elsewhere.counted_by(&process), 0);
    std::fs::remove_dir_all(folder.path("log")).expect("removed");
    std::fs::rename(folder.path("kept"), folder.path("log")).expect("moved");
    let process = folder.serve();
    assert_eq!(folder.counted_by(&process), MESSAGES);
}
