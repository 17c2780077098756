//! A server as a process of its own.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

/// A process that serves, with a data folder of its own; killed when dropped.
pub(crate) struct Server {
    process: Child,
    pub(crate) url: String,
    _folder: TempDir,
}

impl Server {
    /// `deskpulse serve`.
    pub(crate) fn deskpulse() -> Self {
        Self::of(|folder| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_deskpulse"));
            command.args(["serve", "--listen", "127.0.0.1:0", "--data-dir"]).arg(folder);
            command
        })
    }

    /// This program once more, told by a variable that holds its data folder to serve; these files are there.
    pub(crate) fn itself(variable: &str, files: &[(&str, &[u8])]) -> Self {
        Self::of(|folder| {
            for (name, content) in files {
                std::fs::write(folder.join(name), content).expect("the disk has room");
            }
            let mut command = Command::new(std::env::current_exe().expect("it runs"));
            command.env(variable, folder);
            command
        })
    }

    fn of(command: impl FnOnce(&Path) -> Command) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut process =
            command(folder.path()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("the program starts");
        let mut line = String::new();
        let stdout = process.stdout.take().expect("it is piped");
        BufReader::new(stdout).read_line(&mut line).expect("it says where it listens");
        let url = line.trim().rsplit(' ').next().unwrap_or_default().to_owned();
        assert!(url.starts_with("http://"), "{line:?}");
        Self { process, url, _folder: folder }
    }

    /// User and system time of the server so far; `None` where there is no `/proc`.
    pub(crate) fn cpu_seconds(&self) -> Option<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process.id())).ok()?;
        // The second field is a name in parentheses; after it, utime and stime are the 12th and 13th, in 1/100 s.
        let (_, fields) = stat.rsplit_once(") ")?;
        let ticks = |field: usize| fields.split(' ').nth(field)?.parse::<f64>().ok();
        Some((ticks(11)? + ticks(12)?) / 100.0)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
