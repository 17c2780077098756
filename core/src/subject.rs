//! Whom events are about.

/// What stands for all tenants in a question; none is called so.
pub const ALL_TENANTS: &str = "-";

/// The kinds of subjects. Each subject has a timeline of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum SubjectKind {
    /// A ticket, chat, email thread or call, with its messages, legs and costs.
    Conversation,
    /// An agent: states, schedules, employment.
    Agent,
    /// A customer of the business.
    Customer,
    /// A survey.
    Survey,
    /// A review.
    Review,
    /// A task.
    Task,
    /// A session of self-service.
    Session,
    /// A team, for its costs.
    Team,
}

impl SubjectKind {
    /// How many there are.
    pub const COUNT: usize = Self::ALL.len();

    /// Every kind.
    pub const ALL: [Self; 8] = [
        Self::Conversation,
        Self::Agent,
        Self::Customer,
        Self::Survey,
        Self::Review,
        Self::Task,
        Self::Session,
        Self::Team,
    ];

    /// What sets its ids apart from those of other kinds when they are hashed; conversations have nothing in front, as
    /// they were the first.
    pub(crate) fn prefix(self) -> &'static str {
        match self {
            Self::Conversation => "",
            Self::Agent => "\0agent\0",
            Self::Customer => "\0customer\0",
            Self::Survey => "\0survey\0",
            Self::Review => "\0review\0",
            Self::Task => "\0task\0",
            Self::Session => "\0session\0",
            Self::Team => "\0team\0",
        }
    }
}

/// A subject within its tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SubjectRef<'a> {
    /// What it is.
    pub kind: SubjectKind,
    /// Its id among its kind.
    pub id: &'a str,
}

/// The partition a subject belongs to: 64-bit FNV-1a of tenant, kind and id, mixed as `splitmix64` ends, modulo the number
/// of partitions.
///
/// Part of the log's format: a log is only ever read with the number of partitions it was written with.
#[must_use]
pub fn route(tenant: &str, subject: SubjectRef, partitions: u32) -> u32 {
    let bytes = tenant.bytes().chain([0]).chain(subject.kind.prefix().bytes()).chain(subject.id.bytes());
    // FNV-1a alone spreads short, similar ids badly.
    u32::try_from(mixed(fnv1a(bytes)) % u64::from(partitions.max(1))).unwrap_or(0)
}

/// A number for some texts, the same in every process; never 0.
///
/// 64 bits: two different lists share a number by accident once in about 10^19 pairs.
#[must_use]
pub fn number_of(texts: &[&str]) -> i64 {
    let bytes = texts.iter().flat_map(|text| text.bytes().chain([0]));
    let hash = mixed(fnv1a(bytes)).cast_signed();
    if hash == 0 { 1 } else { hash }
}

/// 64-bit FNV-1a.
fn fnv1a(bytes: impl Iterator<Item = u8>) -> u64 {
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

/// The end of `splitmix64`.
fn mixed(hash: u64) -> u64 {
    let mixed = (hash ^ hash >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conversation(id: &str) -> SubjectRef<'_> {
        SubjectRef { kind: SubjectKind::Conversation, id }
    }

    #[test]
    fn routing_is_even_and_never_changes() {
        let mut shares = [0; 4];
        for n in 0..4_000 {
            shares[route("acme", conversation(&format!("c{n}")), 4) as usize] += 1;
        }
        assert!(shares.iter().all(|share| (900..1_100).contains(share)), "{shares:?}");
        let routes =
            [("acme", "c1"), ("acme", "c2"), ("b", "c1")].map(|(tenant, id)| route(tenant, conversation(id), 64));
        assert_eq!(routes, [62, 24, 17]);
    }

    #[test]
    fn texts_are_told_apart_wherever_they_are_cut() {
        assert_ne!(number_of(&["ab", "c"]), number_of(&["a", "bc"]));
        assert_ne!(number_of(&["a"]), number_of(&["a", ""]));
    }
}
