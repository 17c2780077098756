//! The store, its snapshots and its rebuild, on a real disk and on one that fails as asked.

mod crash;
mod damage;
mod law;
mod snapshots;
mod start;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use deskpulse_disk::{Disk, RealDisk, SimulatedDisk};
use deskpulse_store::{Change, Opened, Store, StoreError, StoreOptions, open_or_rebuild};

type Pair = (Vec<u8>, Vec<u8>);

/// Small enough that pages leave it.
const OPTIONS: StoreOptions = StoreOptions { cache_bytes: 256 << 10 };

fn put(key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Change {
    Change { key: key.as_ref().to_vec(), value: Some(value.as_ref().to_vec()) }
}

fn remove(key: impl AsRef<[u8]>) -> Change {
    Change { key: key.as_ref().to_vec(), value: None }
}

fn all(store: &dyn Store) -> Vec<Pair> {
    let mut pairs = Vec::new();
    store
        .scan_all(&mut |key, value| {
            pairs.push((key.to_vec(), value.to_vec()));
            ControlFlow::Continue(())
        })
        .expect("a sound store");
    pairs
}

fn open(disk: &Arc<dyn Disk>, folder: &Path) -> Result<Opened, StoreError> {
    open_or_rebuild(disk, folder, OPTIONS)
}

/// A folder of the machine's file system, removed with what is returned first.
fn real() -> (tempfile::TempDir, Arc<dyn Disk>, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("data");
    (folder, Arc::new(RealDisk), path)
}

fn simulated(seed: u64) -> (SimulatedDisk, Arc<dyn Disk>, PathBuf) {
    let disk = SimulatedDisk::new(seed, 1 << 30);
    (disk.clone(), Arc::new(disk), PathBuf::from("/data"))
}

/// A value that says which it is, of a length that differs.
fn value(number: usize) -> Vec<u8> {
    format!("{number:08}").into_bytes().into_iter().cycle().take(100 + number * 37 % 400).collect()
}

fn key(number: usize) -> Vec<u8> {
    format!("key {:06}", number * 7919 % 1_000_000).into_bytes()
}
