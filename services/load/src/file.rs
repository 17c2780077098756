//! Reading the workload's `.bin` files: 56 bytes a row, little-endian.
//!
//! | bytes | |
//! |---|---|
//! | 0..16 | event id |
//! | 16..24, 24..32, 32..40 | conversation, when it happened, when it arrives (signed, milliseconds) |
//! | 40..44 | value (signed) |
//! | 44..46, 46..48, 48..50, 50..52 | tenant, team, agent, topic |
//! | 52, 53, 54, 55 | kind, channel, priority, unused |

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use crate::LoadError;
use crate::row::{Channel, Kind, Row};

/// The length of a row.
pub(crate) const ROW_BYTES: usize = 56;

/// A file of rows, open.
#[derive(Debug)]
pub(crate) struct Rows {
    path: PathBuf,
    file: BufReader<File>,
    next: u64,
    /// How many rows there are.
    pub(crate) count: u64,
}

impl Rows {
    /// Opens a file. Refused where it is empty or its length is not that of whole rows.
    pub(crate) fn open(path: &Path) -> Result<Self, LoadError> {
        let unreadable = |source| LoadError::Unreadable { path: path.to_owned(), source };
        let file = File::open(path).map_err(unreadable)?;
        let about = file.metadata().map_err(unreadable)?;
        if !about.is_file() {
            return Err(unreadable(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file")));
        }
        let bytes = about.len();
        if bytes == 0 || !bytes.is_multiple_of(ROW_BYTES as u64) {
            return Err(LoadError::NotRows { path: path.to_owned(), bytes });
        }
        let count = bytes / ROW_BYTES as u64;
        Ok(Self { path: path.to_owned(), file: BufReader::with_capacity(1 << 18, file), next: 0, count })
    }
}

/// Every row in the order of the file; an error ends it.
impl Iterator for Rows {
    type Item = Result<Row, LoadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next == self.count {
            return None;
        }
        let mut bytes = [0; ROW_BYTES];
        let read = self.file.read_exact(&mut bytes);
        let number = self.next;
        self.next = if read.is_err() { self.count } else { number + 1 };
        let row = match read {
            Err(source) => Err(LoadError::Unreadable { path: self.path.clone(), source }),
            Ok(()) => row(&bytes).ok_or_else(|| {
                let (kind, channel) = (bytes[52], bytes[53]);
                LoadError::BadRow { path: self.path.clone(), number, kind, channel }
            }),
        };
        Some(row)
    }
}

/// A row of a file; `None` where there is no such kind or channel.
fn row(bytes: &[u8; ROW_BYTES]) -> Option<Row> {
    fn at<const N: usize>(bytes: &[u8], from: usize) -> Option<[u8; N]> {
        bytes.get(from..from + N)?.try_into().ok()
    }
    let short = |from| Some(u16::from_le_bytes(at(bytes, from)?));
    Some(Row {
        event_id: at(bytes, 0)?,
        conversation: u64::from_le_bytes(at(bytes, 16)?),
        time_ms: i64::from_le_bytes(at(bytes, 24)?),
        received_ms: i64::from_le_bytes(at(bytes, 32)?),
        value: i32::from_le_bytes(at(bytes, 40)?),
        tenant: short(44)?,
        team: short(46)?,
        agent: short(48)?,
        topic: short(50)?,
        kind: *Kind::ALL.get(usize::from(bytes[52]))?,
        channel: *Channel::ALL.get(usize::from(bytes[53]))?,
        priority: bytes[54],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As numpy wrote them: the record at the top of this file, by hand.
    fn bytes(kind: u8, channel: u8) -> Vec<u8> {
        let mut bytes: Vec<u8> = (1..=16).collect();
        bytes.extend([0x08, 0x07, 0x06, 0x05, 0x04, 0x03, 0x02, 0x01]);
        bytes.extend([0x00, 0x5e, 0x2f, 0x83, 0x9e, 0x01, 0x00, 0x00]);
        bytes.extend([0x05, 0x5e, 0x2f, 0x83, 0x9e, 0x01, 0x00, 0x00]);
        bytes.extend([0xff, 0xff, 0xff, 0xff]);
        bytes.extend([0x32, 0x00, 0x28, 0x00, 0xd0, 0x07, 0x90, 0x01]);
        bytes.extend([kind, channel, 4, 0]);
        bytes
    }

    fn read(bytes: &[u8]) -> Result<Vec<Row>, LoadError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.bin");
        std::fs::write(&path, bytes).unwrap();
        Rows::open(&path)?.collect()
    }

    #[test]
    fn a_row_is_read_field_by_field() {
        let rows = read(&[bytes(2, 4), bytes(6, 0)].concat()).unwrap();
        let first = Row {
            event_id: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16],
            conversation: 0x0102_0304_0506_0708,
            time_ms: 0x019e_832f_5e00,
            received_ms: 0x019e_832f_5e05,
            value: -1,
            tenant: 50,
            team: 40,
            agent: 2_000,
            topic: 400,
            kind: Kind::AgentMessage,
            channel: Channel::Sms,
            priority: 4,
        };
        assert_eq!(rows, [first, Row { kind: Kind::SurveyAnswered, channel: Channel::Chat, ..first }]);
    }

    #[test]
    fn what_is_no_file_of_rows_is_refused() {
        for (bytes, part) in [
            (Vec::new(), "0 bytes"),
            (bytes(0, 0)[1..].to_vec(), "55 bytes"),
            ([bytes(0, 0), bytes(7, 0)].concat(), "row 1"),
            (bytes(0, 5), "row 0"),
        ] {
            let error = read(&bytes).unwrap_err();
            assert!(error.to_string().contains(part) && !error.hint().is_empty(), "{error}");
        }
        let absent = Rows::open(Path::new("/no/such/file.bin")).unwrap_err();
        assert!(matches!(absent, LoadError::Unreadable { .. }), "{absent}");
        let folder = Rows::open(tempfile::tempdir().unwrap().path()).unwrap_err();
        assert!(matches!(folder, LoadError::Unreadable { .. }), "{folder}");
    }
}
