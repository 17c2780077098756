//! Bytes that are nearly always a block, written as no encoder would.

/// What the fields of a message hold, by their numbers from 1 on: texts, numbers and messages, named by a letter.
const EVENT: &str = "tttTnA";
const PAYLOADS: [&str; 18] = [
    "ttnnD", "tntC", "tnttn", "tDttt", "tCntn", "ttn", "ttttnn", "ttnn", "tTTnnn", "tn", "tnStt", "tnSttnn", "ttnSttn",
    "ttn", "tntMt", "ttnn", "Mtt", "Ktt",
];

/// The fields of a message named by a letter.
fn fields(letter: char) -> &'static str {
    match letter {
        'T' | 'S' => "nn",
        'A' => "tt",
        'C' => "nt",
        'D' => "ttttttttt",
        'M' => "tn",
        'K' => "tttttttt",
        _ => "",
    }
}

const TEXTS: [&str; 9] = [
    "",
    "a",
    "chat",
    "agent-7",
    "topic",
    "plan_2",
    "No Name",
    "Grüße 👋",
    "an id that is longer than twenty-three bytes",
];

/// Pseudo-random bytes of blocks (splitmix64).
pub(super) struct Soup(u64);

impl Soup {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) >> 1).expect("63 bits") % bound
    }

    /// A block of a few events, mentions and changes of configuration.
    pub(super) fn block(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for _ in 0..=self.below(4) {
            match self.below(12) {
                0 => self.unknown(&mut bytes, 2),
                1 | 2 => {
                    let event = self.event();
                    delimited(2, &event, &mut bytes);
                }
                3 => {
                    let mut change = Vec::new();
                    delimited(1, TEXTS[self.below(TEXTS.len())].as_bytes(), &mut change);
                    let settings = self.message("t");
                    delimited(2, &settings, &mut change);
                    delimited(3, &change, &mut bytes);
                }
                _ => {
                    let event = self.event();
                    delimited(1, &event, &mut bytes);
                }
            }
        }
        bytes
    }

    fn event(&mut self) -> Vec<u8> {
        let mut bytes = self.message(EVENT);
        for _ in 0..=self.below(3) {
            let kind = self.below(PAYLOADS.len());
            let payload = self.message(PAYLOADS[kind]);
            delimited(kind + 10, &payload, &mut bytes);
            if self.below(3) == 0 {
                let more = self.message(PAYLOADS[kind]);
                delimited(kind + 10, &more, &mut bytes);
            }
            let more = self.message(EVENT);
            bytes.extend(more);
        }
        bytes
    }

    /// Some of the fields of a message, in any order, some of them again.
    fn message(&mut self, kinds: &str) -> Vec<u8> {
        let kinds: Vec<char> = kinds.chars().collect();
        let mut bytes = Vec::new();
        for _ in 0..self.below(2 * kinds.len() + 1) {
            let place = self.below(kinds.len());
            match kinds[place] {
                _ if self.below(40) == 0 => self.unknown(&mut bytes, 3),
                't' => delimited(place + 1, TEXTS[self.below(TEXTS.len())].as_bytes(), &mut bytes),
                'n' => {
                    varint((place + 1) << 3, 0, &mut bytes);
                    self.number(&mut bytes);
                }
                letter => {
                    let inner = self.message(fields(letter));
                    delimited(place + 1, &inner, &mut bytes);
                }
            }
        }
        bytes
    }

    /// A number, mostly small as those of enumerations are, sometimes with more bytes than it needs.
    fn number(&mut self, bytes: &mut Vec<u8>) {
        let value = match self.below(8) {
            0 => usize::MAX - self.below(3),
            1 => 1 << self.below(63),
            _ => self.below(10),
        };
        let padding = if self.below(8) == 0 { self.below(4) } else { 0 };
        varint(value, padding, bytes);
    }

    /// A field that no message has, mostly.
    fn unknown(&mut self, bytes: &mut Vec<u8>, depth: usize) {
        let tag = 28 + self.below(2_000);
        match self.below(if depth == 0 { 4 } else { 5 }) {
            0 => {
                varint(tag << 3, 0, bytes);
                self.number(bytes);
            }
            1 => {
                varint(tag << 3 | 1, 0, bytes);
                bytes.extend([7; 8]);
            }
            2 => delimited(tag, &[0xff; 5], bytes),
            3 => {
                varint(tag << 3 | 5, 0, bytes);
                bytes.extend([7; 4]);
            }
            _ => {
                varint(tag << 3 | 3, 0, bytes);
                for _ in 0..self.below(3) {
                    self.unknown(bytes, depth - 1);
                }
                varint(tag << 3 | 4, 0, bytes);
            }
        }
    }

    /// Changes one to three of the bytes.
    pub(super) fn change_some(&mut self, bytes: &mut [u8]) {
        for _ in 0..=self.below(3) {
            let place = self.below(bytes.len().max(1));
            let bit = self.below(8);
            if let Some(byte) = bytes.get_mut(place) {
                *byte ^= 1 << bit;
            }
        }
    }
}

/// A number, with as many bytes more than it needs as there is room for.
fn varint(mut value: usize, padding: usize, bytes: &mut Vec<u8>) {
    let begin = bytes.len();
    while value >= 0x80 {
        bytes.push(u8::try_from(value & 0x7f).expect("7 bits") | 0x80);
        value >>= 7;
    }
    bytes.push(u8::try_from(value).expect("7 bits"));
    for _ in 0..padding.min(10 - (bytes.len() - begin)) {
        if let Some(last) = bytes.last_mut() {
            *last |= 0x80;
        }
        bytes.push(0);
    }
}

pub(super) fn delimited(tag: usize, inside: &[u8], bytes: &mut Vec<u8>) {
    varint(tag << 3 | 2, 0, bytes);
    varint(inside.len(), 0, bytes);
    bytes.extend(inside);
}
