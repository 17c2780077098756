//! Reading files a record at a time, compressed or not, in bounded memory.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use csv::StringRecord;
use flate2::read::MultiGzDecoder;
use indicatif::ProgressBar;

/// The longest record taken, in bytes.
pub(crate) const RECORD_LIMIT: usize = 1024 * 1024;

const CHUNK: usize = 64 * 1024;

/// Opens a file, or standard input for `-`, and unpacks gzip (any number of members) and zstd (any number of frames),
/// which are known by their first bytes. Bytes read before unpacking are counted on the bar.
pub(crate) fn open(path: &Path, bar: &ProgressBar) -> io::Result<Box<dyn Read>> {
    let raw: Box<dyn Read> = if path == Path::new("-") { Box::new(io::stdin()) } else { Box::new(File::open(path)?) };
    let mut counted = bar.wrap_read(raw);
    let mut magic = Vec::with_capacity(4);
    counted.by_ref().take(4).read_to_end(&mut magic)?;
    let packing = [magic.starts_with(&[0x1f, 0x8b]), magic == [0x28, 0xb5, 0x2f, 0xfd]];
    let whole = BufReader::with_capacity(CHUNK, io::Cursor::new(magic).chain(counted));
    Ok(match packing {
        [true, _] => Box::new(MultiGzDecoder::new(whole)),
        [_, true] => Box::new(zstd::stream::read::Decoder::with_buffer(whole)?),
        _ => Box::new(whole),
    })
}

/// How the fields of a record are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Dialect {
    pub(crate) delimiter: u8,
    /// `None` when quotes are ordinary characters.
    pub(crate) quote: Option<u8>,
}

impl Dialect {
    fn step(self, state: State, byte: u8) -> State {
        let quote = self.quote == Some(byte);
        match state {
            State::Quoted if quote => State::QuoteEnded,
            State::Quoted => State::Quoted,
            State::QuoteEnded | State::FieldStart if quote => State::Quoted,
            State::FieldStart | State::Unquoted | State::QuoteEnded if byte == self.delimiter => State::FieldStart,
            State::FieldStart | State::Unquoted | State::QuoteEnded => State::Unquoted,
        }
    }

    /// Splits a record into its fields and takes the quotes off.
    pub(crate) fn split(self, text: &str) -> StringRecord {
        let mut fields = StringRecord::with_capacity(text.len(), 16);
        let Some(quote) = self.quote.filter(|quote| text.as_bytes().contains(quote)) else {
            text.split(char::from(self.delimiter)).for_each(|field| fields.push_field(field));
            return fields;
        };
        let mut field = String::new();
        let mut state = State::FieldStart;
        for letter in text.chars() {
            // Quotes and delimiters are ASCII; any other letter moves the state like a plain one.
            let byte = u8::try_from(letter).ok().filter(u8::is_ascii).unwrap_or(b'x');
            let next = self.step(state, byte);
            match (state, next) {
                (State::FieldStart, State::Quoted) | (State::Quoted, State::QuoteEnded) => {}
                (State::QuoteEnded, State::Quoted) => field.push(char::from(quote)),
                (_, State::FieldStart) => {
                    fields.push_field(&field);
                    field.clear();
                }
                _ => field.push(letter),
            }
            state = next;
        }
        fields.push_field(&field);
        fields
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    FieldStart,
    Unquoted,
    Quoted,
    QuoteEnded,
}

/// A record of a file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Record {
    /// The line it starts on, from 1.
    pub(crate) line: u64,
    /// Its text without the line's end; or why it cannot be taken, with what is left of it.
    pub(crate) text: Result<String, Unreadable>,
}

/// A record that cannot be taken.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unreadable {
    pub(crate) reason: String,
    pub(crate) rest: String,
}

/// The records of a file: lines, which with a quoting dialect may go on inside quotes. Blank lines are left out.
///
/// A quote that is never closed costs its own line only: reading goes on with the next one.
pub(crate) struct Records<R> {
    reader: R,
    dialect: Option<Dialect>,
    buffer: Vec<u8>,
    /// Where the next record starts in the buffer.
    start: usize,
    line: u64,
    at_end: bool,
    /// Why the file could not be read on, until the records before that are handed over.
    failure: Option<io::Error>,
}

/// How far the next record reaches.
enum Extent {
    /// To the line break at this offset from its start, or to the end of the file.
    Whole(usize),
    /// A quote is open at the limit or at the end of the file; its first line ends at this offset.
    Unclosed(usize),
    /// Over the limit.
    TooLong,
}

impl<R: Read> Records<R> {
    /// Without a dialect every line is a record.
    pub(crate) fn new(reader: R, dialect: Option<Dialect>) -> Self {
        Self { reader, dialect, buffer: Vec::new(), start: 0, line: 1, at_end: false, failure: None }
    }

    /// The next record; `None` at the end.
    pub(crate) fn next(&mut self) -> io::Result<Option<Record>> {
        loop {
            let line = self.line;
            let extent = self.extent()?;
            if self.start == self.buffer.len() {
                return Ok(None);
            }
            let text = match extent {
                Extent::Whole(length) => {
                    let bytes = self.take(length);
                    let bytes = if line == 1 { bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes) } else { &bytes };
                    let bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
                    if bytes.is_empty() {
                        continue;
                    }
                    String::from_utf8(bytes.to_vec()).map_err(|error| Unreadable {
                        reason: "not UTF-8".to_owned(),
                        rest: String::from_utf8_lossy(error.as_bytes()).into_owned(),
                    })
                }
                Extent::Unclosed(length) => {
                    let rest = String::from_utf8_lossy(&self.take(length)).into_owned();
                    Err(Unreadable { reason: "a quote is opened and not closed within 1 MiB".to_owned(), rest })
                }
                Extent::TooLong => {
                    self.skip_line();
                    Err(Unreadable { reason: "longer than 1 MiB".to_owned(), rest: String::new() })
                }
            };
            return Ok(Some(Record { line, text }));
        }
    }

    fn extent(&mut self) -> io::Result<Extent> {
        let mut state = State::FieldStart;
        let mut first_line_end = None;
        let mut scanned = 0;
        loop {
            for (offset, &byte) in self.buffer.iter().enumerate().skip(self.start + scanned) {
                if byte == b'\n' && state != State::Quoted {
                    return Ok(Extent::Whole(offset - self.start));
                }
                if byte == b'\n' {
                    first_line_end.get_or_insert(offset - self.start);
                }
                state = self.dialect.map_or(State::Unquoted, |dialect| dialect.step(state, byte));
            }
            scanned = self.buffer.len() - self.start;
            let too_long = scanned > RECORD_LIMIT;
            if self.at_end
                && let Some(error) = self.failure.take()
            {
                return Err(error);
            }
            if too_long || self.at_end {
                return Ok(match first_line_end {
                    Some(length) => Extent::Unclosed(length),
                    None if too_long => Extent::TooLong,
                    None if state == State::Quoted => Extent::Unclosed(scanned),
                    None => Extent::Whole(scanned),
                });
            }
            self.fill();
        }
    }

    fn fill(&mut self) {
        self.buffer.drain(..self.start);
        self.start = 0;
        let before = self.buffer.len();
        self.failure = self.reader.by_ref().take(CHUNK as u64).read_to_end(&mut self.buffer).err();
        self.at_end = self.failure.is_some() || self.buffer.len() == before;
    }

    /// Takes a record and the line break after it.
    fn take(&mut self, length: usize) -> Vec<u8> {
        let end = self.start + length;
        let bytes = self.buffer.get(self.start..end).unwrap_or_default().to_vec();
        self.line += 1 + bytes.iter().map(|&byte| u64::from(byte == b'\n')).sum::<u64>();
        self.start = (end + 1).min(self.buffer.len());
        bytes
    }

    fn skip_line(&mut self) {
        loop {
            let rest = self.buffer.get(self.start..).unwrap_or_default();
            if let Some(length) = rest.iter().position(|&byte| byte == b'\n') {
                self.start += length + 1;
                break;
            }
            self.start = self.buffer.len();
            if self.at_end {
                break;
            }
            self.fill();
        }
        self.line += 1;
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    const CSV: Dialect = Dialect { delimiter: b',', quote: Some(b'"') };

    fn records(text: &[u8], dialect: Option<Dialect>) -> Vec<(u64, Result<String, String>)> {
        let mut records = Records::new(text, dialect);
        std::iter::from_fn(|| records.next().unwrap())
            .map(|record| (record.line, record.text.map_err(|unreadable| unreadable.reason)))
            .collect()
    }

    #[test]
    fn quoted_fields_may_hold_delimiters_quotes_and_line_breaks() {
        let text = "a,\"b, \"\"c\"\"\nd\",5\" pipe\r\n\n\"\",x";
        let found = records(text.as_bytes(), Some(CSV));
        assert_eq!(found.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [1, 4]);
        let fields =
            |index: usize| CSV.split(found[index].1.as_ref().unwrap()).iter().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(fields(0), ["a", "b, \"c\"\nd", "5\" pipe"]);
        assert_eq!(fields(1), ["", "x"]);
    }

    #[test]
    fn an_unclosed_quote_costs_its_own_line_only() {
        let found = records(b"a,\"b\nc,d\ne,f", Some(CSV));
        assert!(found[0].1.is_err());
        assert_eq!(found[1..], [(2, Ok("c,d".to_owned())), (3, Ok("e,f".to_owned()))]);
    }

    #[test]
    fn a_line_over_the_limit_is_refused_and_the_next_one_read() {
        let mut text = vec![b'x'; 3 * RECORD_LIMIT];
        text.extend_from_slice(b"\nnext\n\xff\xfe\nlast");
        let found = records(&text, None);
        assert_eq!(found[0], (1, Err("longer than 1 MiB".to_owned())));
        assert_eq!(found[1], (2, Ok("next".to_owned())));
        assert_eq!(found[2], (3, Err("not UTF-8".to_owned())));
        assert_eq!(found[3], (4, Ok("last".to_owned())));
    }

    #[test]
    fn a_byte_order_mark_and_blank_lines_are_left_out() {
        assert_eq!(records(b"\xef\xbb\xbfa\n\n\r\nb\n", None), [(1, Ok("a".to_owned())), (4, Ok("b".to_owned()))]);
    }

    #[test]
    fn several_gzip_members_and_zstd_frames_are_read_as_one_file() {
        let gzip = |text: &[u8]| {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(text).unwrap();
            encoder.finish().unwrap()
        };
        let zstd = |text: &[u8]| zstd::stream::encode_all(text, 1).unwrap();
        let folder = tempfile::tempdir().unwrap();
        for (name, bytes) in [
            ("plain", b"one\ntwo\n".to_vec()),
            ("gzip", [gzip(b"one\n"), gzip(b"two\n")].concat()),
            ("zstd", [zstd(b"one\n"), zstd(b"two\n")].concat()),
        ] {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            let mut text = String::new();
            open(&path, &ProgressBar::hidden()).unwrap().read_to_string(&mut text).unwrap();
            assert_eq!(text, "one\ntwo\n", "{name}");
        }
    }
}
