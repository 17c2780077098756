//! The rejects file: what was not imported, and why.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// One line of the rejects file.
pub(crate) struct Reject<'a> {
    pub(crate) file: &'a str,
    pub(crate) line: u64,
    pub(crate) column: &'a str,
    pub(crate) reason: &'a str,
    pub(crate) row: &'a str,
}

/// The rejects file. It is created with the first reject, and then replaces one of an earlier import.
pub(crate) struct Rejects {
    path: PathBuf,
    writer: Option<csv::Writer<File>>,
    count: u64,
}

impl Rejects {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, writer: None, count: 0 }
    }

    pub(crate) fn write(&mut self, reject: &Reject<'_>) -> anyhow::Result<()> {
        self.try_write(reject).with_context(|| format!("cannot write the rejects file {}", self.path.display()))
    }

    fn try_write(&mut self, reject: &Reject<'_>) -> anyhow::Result<()> {
        let writer = match &mut self.writer {
            Some(writer) => writer,
            none => {
                let writer = none.insert(csv::Writer::from_path(&self.path)?);
                writer.write_record(["file", "line", "column", "reason", "row"])?;
                writer
            }
        };
        writer.write_record([reject.file, &reject.line.to_string(), reject.column, reject.reason, reject.row])?;
        self.count += 1;
        Ok(())
    }

    /// Completes the file. The number of rejects, and the file if there are any.
    pub(crate) fn finish(&mut self) -> anyhow::Result<(u64, Option<&Path>)> {
        match &mut self.writer {
            None => Ok((0, None)),
            Some(writer) => {
                writer.flush().with_context(|| format!("cannot write the rejects file {}", self.path.display()))?;
                Ok((self.count, Some(&self.path)))
            }
        }
    }
}
