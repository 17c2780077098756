//! A data folder that a server wrote, and what can happen to its files.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use deskpulse_edge::upstream::channel;
use deskpulse_proto::v1::config_service_client::ConfigServiceClient;
use deskpulse_proto::v1::event::Payload;
use deskpulse_proto::v1::{
    Actor, ActorKind, Calendar, Event, MessageCreated, OpenBlock, SetCalendarRequest, SetTenantRequest, Tenant,
};

use crate::harness::{Client, PROGRAM, Process, ask, output, run, timestamp, try_output};

/// The events of the folder that [`Folder::written`] gives, each a message of a customer.
pub(super) const MESSAGES: u64 = 14_000;
const BATCH: u64 = 1_000;

/// A data folder.
pub(super) struct Folder {
    root: tempfile::TempDir,
}

impl Folder {
    pub(super) fn empty() -> Self {
        Self { root: tempfile::tempdir().expect("a folder") }
    }

    /// A folder of a server that was closed: a compressed segment and a raw one, a store that has applied all, a snapshot, and
    /// some configuration.
    pub(super) fn written() -> Self {
        let folder = Self::empty();
        let mut process = folder.serve();
        run(async {
            let client = Client::connect(&process.url);
            configure(&process.url).await;
            for first in (0..MESSAGES).step_by(usize::try_from(BATCH).expect("few")) {
                let outcome = client.send((first..first + BATCH).map(message).collect()).await;
                assert_eq!(u64::from(outcome.accepted), BATCH, "{outcome:?}");
            }
        });
        folder.ask_until(&process, |folder| folder.in_log("sealed").is_some() && !folder.snapshots().is_empty());
        assert_eq!(process.terminate("-TERM"), Some(0));
        // Only offline is it known how far the store is. What it lacks, it has after some starts.
        for _ in 0..50 {
            if folder.store_has_all() {
                return folder;
            }
            let mut process = folder.serve();
            let before = folder.store_bytes();
            folder.ask_until(&process, |folder| folder.store_bytes() != before);
            assert_eq!(process.terminate("-TERM"), Some(0));
        }
        panic!("the store never has all")
    }

    /// Runs a server, and sends it more, until something holds that is done in the background.
    pub(super) fn go_on_until(&self, options: &[&str], holds: impl Fn(&Self) -> bool) {
        let mut process = Process::serve(&[&self.arguments()[..], options].concat());
        let patience = Instant::now() + Duration::from_mins(1);
        run(async {
            let client = Client::connect(&process.url);
            for number in MESSAGES.. {
                assert!(Instant::now() < patience, "it does not happen: {:?}", self.bytes().keys());
                client.send(vec![message(number)]).await;
                if holds(self) {
                    break;
                }
            }
        });
        assert_eq!(process.terminate("-TERM"), Some(0));
    }

    /// Asks a server until something holds that is done in the background.
    fn ask_until(&self, process: &Process, holds: impl Fn(&Self) -> bool) {
        let patience = Instant::now() + Duration::from_mins(1);
        while !holds(self) {
            assert!(Instant::now() < patience, "it does not happen: {:?}", self.bytes().keys());
            assert_eq!(self.counted_by(process), MESSAGES);
        }
    }

    fn store_bytes(&self) -> Vec<u8> {
        fs::read(self.store().join("store.redb")).expect("a store")
    }

    fn store_has_all(&self) -> bool {
        let output = self.deskpulse("check", &["--output", "json"]);
        let found: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let partitions = found["log"]["partitions"].as_array().expect("a list");
        partitions.iter().all(|partition| partition["store_at"] == partition["head"])
    }

    pub(super) fn root(&self) -> &str {
        self.root.path().to_str().expect("UTF-8")
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// What a server of this folder is started with.
    pub(super) fn arguments(&self) -> Vec<&str> {
        let often = ["--partitions", "3", "--checkpoint-every", "0.1", "--snapshot-every", "0.5"];
        [&["--listen", "127.0.0.1:0", "--data-dir", self.root()], &often[..]].concat()
    }

    pub(super) fn serve(&self) -> Process {
        Process::serve(&self.arguments())
    }

    /// Runs a command on the folder.
    pub(super) fn deskpulse(&self, command: &str, more: &[&str]) -> Output {
        let mut process = Command::new(PROGRAM);
        process.arg(command).arg("--data-dir").arg(self.root.path()).args(more);
        output(&mut process)
    }

    /// How many messages a server counts.
    #[expect(clippy::unused_self, reason = "it is the folder's server")]
    pub(super) fn counted_by(&self, process: &Process) -> u64 {
        run(async { Client::connect(&process.url).figure(ask("acme", "messages_received")).await.count })
    }

    /// The same files in another folder.
    pub(super) fn copy(&self) -> Self {
        let copy = Self::empty();
        for (path, bytes) in self.bytes() {
            let to = copy.root.path().join(path.strip_prefix(self.root.path()).expect("it is in there"));
            fs::create_dir_all(to.parent().expect("it has one")).expect("a folder");
            fs::write(to, bytes).expect("written");
        }
        copy
    }

    /// Every file and what is in it.
    pub(super) fn bytes(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        self.bytes_in("")
    }

    /// Every file in and under a folder of it; none where there is no such folder.
    pub(super) fn bytes_in(&self, name: &str) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut files = BTreeMap::new();
        let mut folders = vec![self.path(name)];
        while let Some(folder) = folders.pop() {
            let Ok(entries) = fs::read_dir(folder) else { continue };
            for entry in entries.map(|entry| entry.expect("an entry")) {
                if entry.file_type().expect("a type").is_dir() {
                    folders.push(entry.path());
                } else {
                    files.insert(entry.path(), fs::read(entry.path()).expect("readable"));
                }
            }
        }
        files
    }

    fn in_log(&self, ending: &str) -> Option<PathBuf> {
        let entries = fs::read_dir(self.path("log")).expect("a log").map(|entry| entry.expect("an entry").path());
        entries.filter(|path| path.extension().is_some_and(|it| it == ending)).min()
    }

    /// The compressed segment.
    pub(super) fn sealed(&self) -> PathBuf {
        self.in_log("sealed").expect("a compressed segment")
    }

    /// The raw segment that has blocks.
    pub(super) fn raw(&self) -> PathBuf {
        self.in_log("log").expect("a raw segment")
    }

    /// The folder of the store.
    pub(super) fn store(&self) -> PathBuf {
        deskpulse_aggregation::folder_of(&self.path("aggregation"))
    }

    fn snapshots(&self) -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(self.store()) else { return Vec::new() };
        let names = entries.map(|entry| entry.expect("an entry").path());
        let mut names: Vec<_> = names
            .filter(|path| path.file_name().is_some_and(|it| it.to_string_lossy().starts_with("snapshot-")))
            .collect();
        names.sort_unstable();
        names
    }

    /// The newest snapshot.
    pub(super) fn snapshot(&self) -> PathBuf {
        self.snapshots().pop().expect("a snapshot")
    }

    /// Flips a bit of the byte at an offset that depends on the file's length. Returns the file's name.
    #[expect(clippy::unused_self, reason = "it is a file of the folder")]
    pub(super) fn flip(&self, path: &Path, at: fn(u64) -> u64) -> String {
        let mut bytes = fs::read(path).expect("readable");
        let at = usize::try_from(at(bytes.len() as u64)).expect("small");
        bytes[at] ^= 0x10;
        fs::write(path, bytes).expect("written");
        name(path)
    }

    /// Flips a bit in every page of a store but the first, so that no start gets round them all.
    #[expect(clippy::unused_self, reason = "it is a file of the folder")]
    pub(super) fn riddle(&self, path: &Path) -> String {
        let mut bytes = fs::read(path).expect("readable");
        bytes.iter_mut().skip(2 * 4_096 + 7).step_by(4_096).for_each(|byte| *byte ^= 0x10);
        fs::write(path, bytes).expect("written");
        name(path)
    }

    /// Cuts a file to a length that depends on its own.
    #[expect(clippy::unused_self, reason = "it is a file of the folder")]
    pub(super) fn cut(&self, path: &Path, to: fn(u64) -> u64) -> String {
        let file = fs::OpenOptions::new().write(true).open(path).expect("there");
        file.set_len(to(file.metadata().expect("a length").len())).expect("cut");
        name(path)
    }

    #[expect(clippy::unused_self, reason = "it is a file of the folder")]
    pub(super) fn remove(&self, path: &Path) -> String {
        fs::remove_file(path).expect("removed");
        name(path)
    }

    /// Puts two files in each other's place, each under the other's name.
    #[expect(clippy::unused_self, reason = "they are files of the folder")]
    pub(super) fn swap(&self, one: &Path, other: &Path) -> String {
        let (first, second) = (fs::read(one).expect("readable"), fs::read(other).expect("readable"));
        fs::write(one, second).expect("written");
        fs::write(other, first).expect("written");
        name(one)
    }

    /// Has a file state format version 77, at `version`, with the right checksum of all before `crc`.
    #[expect(clippy::unused_self, reason = "it is a file of the folder")]
    pub(super) fn age(&self, path: &Path, version: usize, crc: usize) -> String {
        let mut bytes = fs::read(path).expect("readable");
        bytes[version..version + 4].copy_from_slice(&77_u32.to_le_bytes());
        let sum = crc32c(&bytes[..crc]);
        bytes[crc..crc + 4].copy_from_slice(&sum.to_le_bytes());
        fs::write(path, bytes).expect("written");
        name(path)
    }

    /// Mounts the folder read-only over itself; `None` without the right to. Undone when dropped.
    pub(super) fn read_only(&self) -> Option<Mount> {
        let path = self.root.path();
        let mount = |arguments: &[&str]| {
            let done = try_output(Command::new("mount").args(arguments).arg(path));
            done.is_ok_and(|output| output.status.success())
        };
        if !mount(&["--bind", self.root()]) {
            return None;
        }
        let mounted = Mount(path.to_owned());
        mount(&["-o", "remount,ro,bind"]).then_some(mounted)
    }
}

/// A mount to be undone.
pub(super) struct Mount(PathBuf);

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

fn name(path: &Path) -> String {
    path.file_name().expect("a name").to_string_lossy().into_owned()
}

/// CRC32C, bit by bit.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg()))
    })
}

/// A customer's message, in a conversation with some others.
fn message(number: u64) -> Event {
    let mut time = timestamp("2026-05-04T00:00:00Z");
    time.seconds += i64::try_from(number).expect("few");
    Event {
        id: format!("{number}-{:x}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
        source: "load".to_owned(),
        tenant: "acme".to_owned(),
        time: Some(time),
        payload: Some(Payload::MessageCreated(MessageCreated {
            conversation: format!("conversation-{}", number % 500),
            actor: Some(Actor { kind: ActorKind::Customer.into(), id: format!("customer-{}", number % 300) }),
            ..Default::default()
        })),
        ..Default::default()
    }
}

/// Two versions of a calendar, and settings that name it.
async fn configure(url: &str) {
    let mut config = ConfigServiceClient::new(channel(url).expect("an address"));
    for (from, to_minute) in [("2026-01-01T00:00:00Z", 1_020), ("2026-03-01T00:00:00Z", 1_080)] {
        let block = OpenBlock { weekday: 1, from_minute: 540, to_minute };
        let calendar = Calendar {
            calendar: "office".to_owned(),
            time_zone: "Europe/Berlin".to_owned(),
            effective_from: Some(timestamp(from)),
            blocks: vec![block],
            ..Default::default()
        };
        let request = SetCalendarRequest { tenant: "acme".to_owned(), calendar: Some(calendar) };
        config.set_calendar(request).await.expect("it is taken");
    }
    let settings = Tenant { tenant: "acme".to_owned(), calendar: "office".to_owned(), ..Default::default() };
    config.set_tenant(SetTenantRequest { tenant: Some(settings) }).await.expect("it is taken");
}

/// How many lines a command wrote on standard output.
pub(super) fn lines(output: &Output) -> u64 {
    String::from_utf8_lossy(&output.stdout).lines().count() as u64
}

/// All a command said.
pub(super) fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

pub(super) fn assert_says(output: &Output, words: &[&str]) {
    let text = text(output);
    for word in words {
        assert!(text.contains(word), "{word} is missing in\n{text}");
    }
}
