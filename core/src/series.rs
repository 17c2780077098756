//! Interned names and series: the few strings that repeat, kept once.

use std::hash::{BuildHasher, Hash, Hasher};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use dashmap::DashMap;
use foldhash::fast::RandomState;

use serde::{Deserialize, Serialize};

use crate::archive::{Archive, Change, Key, Kind, SHARED, Unreadable, decode, encode};
use crate::dimension::Dimension;
use crate::event::CreditKey;
use crate::filter::Filter;

/// A list that only grows. Threads may add while any number read, without locks and without moving what is there.
#[derive(Debug)]
pub(crate) struct AppendList<T> {
    // Segment k holds 2^k values, so no value ever moves.
    segments: [OnceLock<Box<[OnceLock<T>]>>; 32],
}

impl<T> AppendList<T> {
    pub(crate) const fn new() -> Self {
        Self { segments: [const { OnceLock::new() }; 32] }
    }

    fn place(index: u32) -> (usize, usize) {
        let number = u64::from(index) + 1;
        let segment = number.ilog2();
        let within = number - (1u64 << segment);
        (segment as usize, usize::try_from(within).expect("a segment holds fewer than 2^32 values"))
    }

    pub(crate) fn get(&self, index: u32) -> Option<&T> {
        let (segment, within) = Self::place(index);
        self.segments[segment].get()?.get(within)?.get()
    }

    /// Sets the value at `index`; false where there is one already, which stays.
    pub(crate) fn set(&self, index: u32, value: T) -> bool {
        let (segment, within) = Self::place(index);
        let slots = self.segments[segment].get_or_init(|| (0..1u64 << segment).map(|_| OnceLock::new()).collect());
        slots[within].set(value).is_ok()
    }
}

/// Slots of the first table of an [`Interner`]; each further table has twice as many.
const FIRST_SLOTS: usize = 64;
/// The last table has 2^32 slots.
const TABLES: usize = 27;

/// Gives each distinct value a small number, and the value back for the number.
///
/// Nothing that is known takes a lock, neither by value nor by number, and nothing is written then, so threads that ask for
/// the same values do not take each other's cache lines away. A new value takes one lock.
#[derive(Debug)]
pub struct Interner<T: ?Sized> {
    hasher: RandomState,
    /// Slots to look values up in: in the upper half the hash, in the lower half the number plus one; 0 is empty. A table
    /// that is half full is replaced by the next one.
    tables: [OnceLock<Box<[AtomicU64]>>; TABLES],
    /// The table in use.
    table: AtomicUsize,
    values: AppendList<Arc<T>>,
    len: AtomicU32,
    adding: Mutex<()>,
}

impl<T: ?Sized> Default for Interner<T> {
    fn default() -> Self {
        Self {
            hasher: RandomState::default(),
            tables: [const { OnceLock::new() }; TABLES],
            table: AtomicUsize::new(0),
            values: AppendList::new(),
            len: AtomicU32::new(0),
            adding: Mutex::new(()),
        }
    }
}

impl<T: ?Sized + Eq + Hash> Interner<T> {
    /// The number of `value`, given now if it has none.
    ///
    /// # Panics
    /// After 2^32 - 1 distinct values.
    pub fn intern(&self, value: &T) -> u32
    where
        Arc<T>: for<'a> From<&'a T>,
    {
        let hash = self.hash(value);
        self.find_hashed(hash, value).unwrap_or_else(|| self.add(hash, value))
    }

    /// The number of `value`, if it has one.
    pub fn find(&self, value: &T) -> Option<u32> {
        self.find_hashed(self.hash(value), value)
    }

    fn hash(&self, value: &T) -> u32 {
        let hash = self.hasher.hash_one(value);
        #[expect(clippy::cast_possible_truncation, reason = "both halves are mixed into one")]
        let folded = (hash ^ hash >> 32) as u32;
        folded
    }

    fn find_hashed(&self, hash: u32, value: &T) -> Option<u32> {
        let slots = self.tables.get(self.table.load(Ordering::Acquire))?.get()?;
        for slot in probed(slots, hash) {
            let (known, number) = parts(slot.load(Ordering::Acquire));
            let number = number.checked_sub(1)?;
            if known == hash && self.values.get(number).is_some_and(|known| **known == *value) {
                return Some(number);
            }
        }
        None
    }

    #[cold]
    fn add(&self, hash: u32, value: &T) -> u32
    where
        Arc<T>: for<'a> From<&'a T>,
    {
        // What panicked while it held the lock had either added its value or not.
        let _only_one = self.adding.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(number) = self.find_hashed(hash, value) {
            return number;
        }
        let number = self.len.load(Ordering::Relaxed);
        assert!(number < u32::MAX, "more than 2^32 - 1 distinct values");
        self.values.set(number, Arc::from(value));
        put(self.table_with_room(number), hash, number + 1);
        self.len.store(number + 1, Ordering::Release);
        number
    }

    /// A table at most half full, as far as there are larger ones.
    fn table_with_room(&self, len: u32) -> &[AtomicU64] {
        let table = self.table.load(Ordering::Relaxed);
        let slots = self.tables[table].get_or_init(|| empty(FIRST_SLOTS));
        if len as usize * 2 < slots.len() || table + 1 == TABLES {
            return slots;
        }
        let larger = self.tables[table + 1].get_or_init(|| {
            let larger = empty(slots.len() * 2);
            for (hash, number) in slots.iter().map(|slot| parts(slot.load(Ordering::Relaxed))) {
                if number != 0 {
                    put(&larger, hash, number);
                }
            }
            larger
        });
        self.table.store(table + 1, Ordering::Release);
        larger
    }

    /// The value with this number.
    pub fn value(&self, number: u32) -> Option<&Arc<T>> {
        self.values.get(number)
    }

    /// The values from a number on: every one whose number anybody may have.
    fn since(&self, first: u32) -> impl Iterator<Item = Arc<T>> {
        // Another thread may be adding one whose number can be found already.
        drop(self.adding.lock().unwrap_or_else(PoisonError::into_inner));
        (first..self.len.load(Ordering::Acquire)).filter_map(|number| self.value(number).cloned())
    }

    /// Gives the next number to a value that has none.
    fn push(&self, value: Arc<T>) {
        let _only_one = self.adding.lock().unwrap_or_else(PoisonError::into_inner);
        let (hash, number) = (self.hash(&value), self.len.load(Ordering::Relaxed));
        self.values.set(number, value);
        put(self.table_with_room(number), hash, number + 1);
        self.len.store(number + 1, Ordering::Release);
    }

    /// How many values there are.
    pub fn len(&self) -> usize {
        self.len.load(Ordering::Acquire) as usize
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

fn empty(slots: usize) -> Box<[AtomicU64]> {
    (0..slots).map(|_| AtomicU64::new(0)).collect()
}

/// Hash and number of a slot.
#[expect(clippy::cast_possible_truncation, reason = "two numbers of 32 bits are packed in one of 64")]
fn parts(slot: u64) -> (u32, u32) {
    ((slot >> 32) as u32, slot as u32)
}

/// The slots where a hash may be, in order, up to all of them.
fn probed(slots: &[AtomicU64], hash: u32) -> impl Iterator<Item = &AtomicU64> {
    // The number of slots is a power of two.
    let (before, from) = slots.split_at(hash as usize & (slots.len() - 1));
    from.iter().chain(before)
}

fn put(slots: &[AtomicU64], hash: u32, number: u32) {
    if let Some(slot) = probed(slots, hash).find(|slot| slot.load(Ordering::Relaxed) == 0) {
        slot.store(u64::from(hash) << 32 | u64::from(number), Ordering::Release);
    }
}

/// An interned string: a dimension's value, an agent, a source, a tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Symbol(NonZeroU32);

impl Symbol {
    /// Its number, from 1.
    pub(crate) fn number(self) -> u32 {
        self.0.get()
    }

    /// The symbol with a number.
    pub(crate) fn from_number(number: u32) -> Result<Self, Unreadable> {
        NonZeroU32::new(number).map(Self).ok_or_else(|| Unreadable("a name has the number 0".to_owned()))
    }
}

/// An interned combination of dimension values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SeriesId(pub(crate) u32);

/// The interning tables of a process, shared by its partitions and queries.
#[derive(Debug, Default)]
pub struct Names {
    symbols: Interner<str>,
    series: Interner<DimensionValues>,
    first_met: DashMap<Arc<[Dimension]>, Arc<FirstMet>, RandomState>,
    /// How many pages lists of dimensions may still take.
    pages_left: Arc<PagesLeft>,
}

/// For the values of some dimensions the first series that was met with them: whoever looks at these dimensions alone takes it for all
/// series that have the same. What a question finds out about a series, those after it need not look up.
#[derive(Debug)]
pub(crate) struct FirstMet {
    /// In order, each once.
    pub(crate) dimensions: Arc<[Dimension]>,
    by_values: DashMap<Box<[u32]>, SeriesId, RandomState>,
    /// How many values there are, or a little more than that.
    count: AtomicUsize,
    /// For each series, by its number, the number of the one that stands for it and one; 0 where nobody has asked.
    pages: AppendList<Box<Page>>,
    pages_left: Arc<PagesLeft>,
}

/// The most lists of dimensions that are looked at in common, and the most values of each.
const LISTS: usize = 64;
const VALUES: usize = 1 << 14;
/// Up to how many dimensions are put together without a list.
const FEW: usize = 8;

type Page = [AtomicU32; PAGE as usize];
/// Series of a page.
const PAGE: u32 = 1 << 10;
/// The most pages of all lists: 64 MiB. What has no page is looked up once a question.
const PAGES: usize = (64 << 20) / size_of::<Page>();

#[derive(Debug)]
struct PagesLeft(AtomicUsize);

impl Default for PagesLeft {
    fn default() -> Self {
        Self(AtomicUsize::new(PAGES))
    }
}

impl FirstMet {
    fn new(dimensions: Arc<[Dimension]>, pages_left: &Arc<PagesLeft>) -> Self {
        let (by_values, count, pages) = (DashMap::default(), AtomicUsize::new(0), AppendList::new());
        Self { dimensions, by_values, count, pages, pages_left: Arc::clone(pages_left) }
    }

    /// Who stands for a series; itself where the dimensions have too many values.
    #[inline]
    pub(crate) fn stand_in(&self, series: SeriesId, names: &Names) -> SeriesId {
        self.remembered(series).unwrap_or_else(|| self.find(series, names))
    }

    /// The same where somebody has asked before, and there was room to remember it.
    #[inline]
    pub(crate) fn remembered(&self, series: SeriesId) -> Option<SeriesId> {
        // What stands for it was named before that was written down.
        let known = self.known(series).map_or(0, |known| known.load(Ordering::Acquire));
        known.checked_sub(1).map(SeriesId)
    }

    fn known(&self, SeriesId(series): SeriesId) -> Option<&AtomicU32> {
        self.pages.get(series / PAGE)?.get((series % PAGE) as usize)
    }

    #[cold]
    fn find(&self, series: SeriesId, names: &Names) -> SeriesId {
        let Some(values) = names.values(series) else { return series };
        let number = |dimension| values.value(dimension, names).map_or(0, Symbol::number);
        let mut few = [0; FEW];
        let first = match few.get_mut(..self.dimensions.len()) {
            Some(few) if !self.dimensions.contains(&Dimension::Tag) => {
                few.iter_mut().zip(&*self.dimensions).for_each(|(place, dimension)| *place = number(dimension));
                self.of_values(few, series)
            }
            _ => {
                let mut key: Vec<u32> = Vec::with_capacity(self.dimensions.len());
                for dimension in &*self.dimensions {
                    if *dimension == Dimension::Tag {
                        key.push(u32::try_from(values.tags().len()).expect("few tags"));
                        key.extend(values.tags().iter().map(|tag| tag.number()));
                    } else {
                        key.push(number(dimension));
                    }
                }
                self.of_values(&key, series)
            }
        };
        if let Some(known) = self.known(series).or_else(|| self.add_page(series)) {
            known.store(first.0.saturating_add(1), Ordering::Release);
        }
        first
    }

    fn of_values(&self, values: &[u32], series: SeriesId) -> SeriesId {
        if let Some(known) = self.by_values.get(values) {
            return *known;
        }
        // About as many: the map itself would look into all its parts to say.
        if self.count.load(Ordering::Relaxed) >= VALUES {
            return series;
        }
        self.count.fetch_add(1, Ordering::Relaxed);
        *self.by_values.entry(values.into()).or_insert(series)
    }

    /// The place of a series on a page that is new; `None` where there are too many.
    fn add_page(&self, series: SeriesId) -> Option<&AtomicU32> {
        let one_less = |left: usize| left.checked_sub(1);
        self.pages_left.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).ok()?;
        // Where somebody else was faster, theirs stays.
        if !self.pages.set(series.0 / PAGE, Box::new([const { AtomicU32::new(0) }; PAGE as usize])) {
            self.pages_left.0.fetch_add(1, Ordering::Relaxed);
        }
        self.known(series)
    }
}

/// Up to where names are in the archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NamesKept {
    symbols: u32,
    series: u32,
}

/// How many names stand under one key.
const NAMES_A_KEY: usize = 1_000;

impl Names {
    /// With room to remember who stands for the series of so many pages.
    #[cfg(test)]
    pub(crate) fn with_pages(pages: usize) -> Self {
        Self { pages_left: Arc::new(PagesLeft(AtomicUsize::new(pages))), ..Self::default() }
    }

    /// Who was met first with values of these dimensions, which are in order, each once; of a list of its own where there are too many.
    pub(crate) fn first_met(&self, dimensions: &[Dimension]) -> Arc<FirstMet> {
        if let Some(known) = self.first_met.get(dimensions) {
            return Arc::clone(&known);
        }
        let dimensions: Arc<[Dimension]> = dimensions.into();
        let new = |pages_left| Arc::new(FirstMet::new(Arc::clone(&dimensions), pages_left));
        if self.first_met.len() >= LISTS {
            return new(&Arc::default());
        }
        Arc::clone(&self.first_met.entry(Arc::clone(&dimensions)).or_insert_with(|| new(&self.pages_left)))
    }

    /// The names in an archive, with their numbers.
    pub fn open(archive: &dyn Archive) -> Result<(Self, NamesKept), Unreadable> {
        let names = Self::default();
        let mut damage = Ok(());
        archive.scan(
            &Key::new(SHARED, Kind::Symbols).done(),
            &mut |_, value| match decode::<Vec<Arc<str>>>(value) {
                Ok(symbols) => symbols.into_iter().for_each(|symbol| names.symbols.push(symbol)),
                Err(error) => damage = Err(error),
            },
        )?;
        archive.scan(
            &Key::new(SHARED, Kind::Series).done(),
            &mut |_, value| match decode::<Vec<Arc<DimensionValues>>>(value) {
                Ok(series) => series.into_iter().for_each(|values| names.series.push(values)),
                Err(error) => damage = Err(error),
            },
        )?;
        damage?;
        let kept = names.kept();
        Ok((names, kept))
    }

    fn kept(&self) -> NamesKept {
        let len = |len: &AtomicU32| len.load(Ordering::Acquire);
        NamesKept { symbols: len(&self.symbols.len), series: len(&self.series.len) }
    }

    /// Every name there is that was not in the archive: has to be put away before, or with, what uses it. Returns up to where
    /// names are in the archive then.
    pub fn put_away(&self, kept: NamesKept, changes: &mut Vec<Change>) -> NamesKept {
        fn put<T: Serialize>(kind: Kind, first: u32, values: &[T], changes: &mut Vec<Change>) -> u32 {
            let mut next = first;
            for values in values.chunks(NAMES_A_KEY) {
                changes.push(Change { key: Key::new(SHARED, kind).u32(next).done(), value: Some(encode(&values)) });
                next += u32::try_from(values.len()).expect("a thousand at most");
            }
            next
        }
        // The series first: they are made of symbols.
        let series: Vec<Arc<DimensionValues>> = self.series.since(kept.series).collect();
        let symbols: Vec<Arc<str>> = self.symbols.since(kept.symbols).collect();
        NamesKept {
            symbols: put(Kind::Symbols, kept.symbols, &symbols, changes),
            series: put(Kind::Series, kept.series, &series, changes),
        }
    }

    /// The symbol of `text`.
    pub fn symbol(&self, text: &str) -> Symbol {
        let number = self.symbols.intern(text);
        Symbol(NonZeroU32::MIN.saturating_add(number))
    }

    /// The symbol of `text`; `None` for the empty string, which means "not set".
    pub fn symbol_if_set(&self, text: &str) -> Option<Symbol> {
        (!text.is_empty()).then(|| self.symbol(text))
    }

    /// The symbol of `text`, if anything was ever called so.
    pub fn find_symbol(&self, text: &str) -> Option<Symbol> {
        self.symbols.find(text).map(|number| Symbol(NonZeroU32::MIN.saturating_add(number)))
    }

    /// The text of a symbol.
    pub fn text(&self, symbol: Symbol) -> &str {
        self.symbols.value(symbol.0.get() - 1).map_or("", AsRef::as_ref)
    }

    /// The same text, kept.
    pub(crate) fn shared_text(&self, symbol: Symbol) -> Arc<str> {
        self.symbols.value(symbol.0.get() - 1).map_or_else(|| Arc::from(""), Arc::clone)
    }

    /// The series of a combination of dimension values.
    pub fn series(&self, values: &DimensionValues) -> SeriesId {
        SeriesId(self.series.intern(values))
    }

    /// The series of some dimension values, and these as they are kept here.
    ///
    /// # Panics
    /// Never: what was interned is there.
    pub fn interned(&self, values: &DimensionValues) -> (SeriesId, Arc<DimensionValues>) {
        let series = self.series(values);
        (series, Arc::clone(self.series.value(series.0).expect("it was just interned")))
    }

    /// The dimension values of a series.
    pub fn values(&self, series: SeriesId) -> Option<&DimensionValues> {
        self.series.value(series.0).map(AsRef::as_ref)
    }

    /// How many series there are.
    pub fn series_count(&self) -> usize {
        self.series.len()
    }
}

impl From<&DimensionValues> for Arc<DimensionValues> {
    fn from(values: &DimensionValues) -> Self {
        Arc::new(values.clone())
    }
}

/// The most tags a conversation has at once.
pub const MAX_TAGS: usize = 64;
/// The most custom attributes a conversation has at once.
pub const MAX_ATTRIBUTES: usize = 8;

/// How many dimensions have a place of their own in every [`DimensionValues`].
const SINGLE: usize = 11;

/// The dimension values in force at some instant: the key of a series.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DimensionValues {
    single: [Option<Symbol>; SINGLE],
    /// Sorted, each once.
    tags: Vec<Symbol>,
    /// The values of dimensions that few figures carry, sorted, each dimension once.
    sparse: Vec<(Sparse, Symbol)>,
    /// The event whose conversation's values are meant beneath these.
    credit: Option<CreditKey>,
}

/// A few words instead of a discriminant and a value for each dimension: this is done several times an event.
impl Hash for DimensionValues {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let number = |value: &Option<Symbol>| value.map_or(0, |symbol| u64::from(symbol.0.get()));
        for pair in self.single.chunks(2) {
            state.write_u64(pair.iter().fold(0, |word, value| word << 32 | number(value)));
        }
        // Mostly there are none of these; two lists of other lengths may share a hash.
        for tag in &self.tags {
            state.write_u32(tag.0.get());
        }
        for value in &self.sparse {
            value.hash(state);
        }
        if let Some(credit) = self.credit {
            state.write_i64(credit.get());
        }
    }
}

/// A dimension that few figures carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
enum Sparse {
    Standard(u8),
    Custom(Symbol),
}

/// Where the value of a dimension is kept.
enum Place {
    Single(usize),
    Sparse(u8),
    Elsewhere,
}

fn place(dimension: &Dimension) -> Place {
    match dimension {
        Dimension::Channel => Place::Single(0),
        Dimension::Direction => Place::Single(1),
        Dimension::Team => Place::Single(2),
        Dimension::Agent => Place::Single(3),
        Dimension::Priority => Place::Single(4),
        Dimension::Topic => Place::Single(5),
        Dimension::Subtopic => Place::Single(6),
        Dimension::Language => Place::Single(7),
        Dimension::Country => Place::Single(8),
        Dimension::CustomerSegment => Place::Single(9),
        Dimension::QuickReply => Place::Single(10),
        Dimension::Outcome => Place::Sparse(0),
        Dimension::State => Place::Sparse(1),
        Dimension::SlaPolicy => Place::Sparse(2),
        Dimension::SlaTarget => Place::Sparse(3),
        Dimension::Currency => Place::Sparse(4),
        Dimension::Feature => Place::Sparse(5),
        Dimension::Platform => Place::Sparse(6),
        Dimension::Bot => Place::Sparse(7),
        Dimension::Tag | Dimension::Custom(_) => Place::Elsewhere,
    }
}

impl DimensionValues {
    /// The value of a single-valued standard dimension; `None` for tags and custom attributes.
    #[must_use]
    pub fn get(&self, dimension: &Dimension) -> Option<Symbol> {
        match place(dimension) {
            Place::Single(place) => self.single[place],
            Place::Sparse(place) => self.sparse(Sparse::Standard(place)),
            Place::Elsewhere => None,
        }
    }

    /// Sets or clears a single-valued standard dimension; tags and custom attributes have their own methods.
    pub fn set(&mut self, dimension: &Dimension, value: Option<Symbol>) {
        match place(dimension) {
            Place::Single(place) => self.single[place] = value,
            Place::Sparse(place) => self.set_sparse(Sparse::Standard(place), value),
            Place::Elsewhere => {}
        }
    }

    /// These values with another value of one dimension.
    #[must_use]
    pub fn with(&self, dimension: &Dimension, value: Option<Symbol>) -> Self {
        let mut values = self.clone();
        values.set(dimension, value);
        values
    }

    /// These values on top of those of the conversation that an event names.
    #[must_use]
    pub fn credited(mut self, credit: Option<CreditKey>) -> Self {
        self.credit = credit;
        self
    }

    /// The event whose conversation's values are meant beneath these.
    #[must_use]
    pub fn credit(&self) -> Option<CreditKey> {
        self.credit
    }

    /// The values of a conversation, with those that are set here in their place.
    #[must_use]
    pub fn over(&self, beneath: &Self) -> Self {
        let mut values = beneath.clone();
        for (below, above) in values.single.iter_mut().zip(&self.single) {
            *below = above.or(*below);
        }
        for (dimension, value) in &self.sparse {
            values.set_sparse(*dimension, Some(*value));
        }
        for tag in &self.tags {
            values.add_tag(*tag);
        }
        values
    }

    fn sparse(&self, dimension: Sparse) -> Option<Symbol> {
        let place = self.sparse.binary_search_by_key(&dimension, |(known, _)| *known).ok()?;
        self.sparse.get(place).map(|(_, value)| *value)
    }

    fn set_sparse(&mut self, dimension: Sparse, value: Option<Symbol>) {
        match (self.sparse.binary_search_by_key(&dimension, |(known, _)| *known), value) {
            (Ok(place), Some(value)) => self.sparse[place].1 = value,
            (Ok(place), None) => drop(self.sparse.remove(place)),
            (Err(place), Some(value)) => self.sparse.insert(place, (dimension, value)),
            (Err(_), None) => {}
        }
    }

    /// The value of any single-valued dimension.
    #[must_use]
    pub fn value(&self, dimension: &Dimension, names: &Names) -> Option<Symbol> {
        match dimension {
            Dimension::Custom(attribute) => self.custom(names.find_symbol(attribute.key())?),
            standard => self.get(standard),
        }
    }

    /// All but the tags, each with the name of its dimension.
    #[must_use]
    pub fn named(&self, names: &Names) -> Vec<(String, String)> {
        let text = |symbol: Symbol| names.text(symbol).to_owned();
        let standard = Dimension::STANDARD.iter();
        let standard = standard.filter_map(|it| Some((it.name().to_owned(), text(self.get(it)?))));
        let custom = self.sparse.iter().filter_map(|(dimension, value)| match dimension {
            Sparse::Custom(attribute) => Some((format!("attributes.{}", names.text(*attribute)), text(*value))),
            Sparse::Standard(_) => None,
        });
        standard.chain(custom).collect()
    }

    /// Whether they pass a filter.
    #[must_use]
    pub fn pass(&self, filter: &Filter, names: &Names) -> bool {
        filter.matches(&|dimension: &Dimension, test: &dyn Fn(&str) -> bool| match dimension {
            Dimension::Tag => self.tags.iter().any(|tag| test(names.text(*tag))),
            single => self.value(single, names).is_some_and(|value| test(names.text(value))),
        })
    }

    /// The tags, sorted.
    #[must_use]
    pub fn tags(&self) -> &[Symbol] {
        &self.tags
    }

    /// These values with one tag and no other.
    #[must_use]
    pub fn with_only_tag(&self, tag: Symbol) -> Self {
        Self { tags: vec![tag], ..self.clone() }
    }

    /// Adds a tag, unless there are [`MAX_TAGS`].
    pub fn add_tag(&mut self, tag: Symbol) {
        if let Err(place) = self.tags.binary_search(&tag)
            && self.tags.len() < MAX_TAGS
        {
            self.tags.insert(place, tag);
        }
    }

    /// Removes a tag.
    pub fn remove_tag(&mut self, tag: Symbol) {
        if let Ok(place) = self.tags.binary_search(&tag) {
            self.tags.remove(place);
        }
    }

    /// The value of a custom attribute.
    #[must_use]
    pub fn custom(&self, attribute: Symbol) -> Option<Symbol> {
        self.sparse(Sparse::Custom(attribute))
    }

    /// Sets or clears a custom attribute; a new one is left out when there are [`MAX_ATTRIBUTES`].
    pub fn set_custom(&mut self, attribute: Symbol, value: Option<Symbol>) {
        let attribute = Sparse::Custom(attribute);
        let customs = self.sparse.iter().filter(|(dimension, _)| matches!(dimension, Sparse::Custom(_))).count();
        if customs < MAX_ATTRIBUTES || value.is_none() || self.sparse(attribute).is_some() {
            self.set_sparse(attribute, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_keeps_its_number_and_a_number_its_value() {
        let names = Names::default();
        let texts: Vec<String> = (0..1_000).map(|n| format!("agent {n}")).collect();
        let symbols: Vec<Symbol> = texts.iter().map(|text| names.symbol(text)).collect();
        for (text, symbol) in texts.iter().zip(&symbols) {
            assert_eq!(names.symbol(text), *symbol);
            assert_eq!(names.text(*symbol), text);
        }
        assert_eq!(names.find_symbol("nobody"), None);
        assert_eq!(names.symbol_if_set(""), None);
    }

    #[test]
    fn the_first_series_stands_for_those_that_agree_with_it() {
        let values = |team: u32, agent: u32, names: &Names| {
            let mut values = DimensionValues::default();
            values.set(&Dimension::Team, Some(names.symbol(&format!("team {team}"))));
            values.set(&Dimension::Agent, Some(names.symbol(&format!("agent {agent}"))));
            values
        };
        // With room for all pages, for one of several, and for none.
        for pages in [PAGES, 1, 0] {
            let names = Names::with_pages(pages);
            let ids: Vec<(u32, SeriesId)> =
                (0..5_000).map(|n| (n % 7, names.series(&values(n % 7, n, &names)))).collect();
            let (by_team, by_both) =
                (names.first_met(&[Dimension::Team]), names.first_met(&[Dimension::Team, Dimension::Agent]));
            assert!(Arc::ptr_eq(&by_team, &names.first_met(&[Dimension::Team])));
            std::thread::scope(|scope| {
                for _ in 0..2 {
                    scope.spawn(|| {
                        for (team, series) in ids.iter().chain(&ids) {
                            assert_eq!(
                                by_team.stand_in(*series, &names),
                                by_team.stand_in(ids[*team as usize].1, &names)
                            );
                            assert_eq!(by_both.stand_in(*series, &names), *series);
                        }
                    });
                }
            });
            assert_eq!(names.pages_left.0.load(Ordering::Relaxed), pages.saturating_sub(10).min(pages));
        }
    }

    #[test]
    fn where_dimensions_have_too_many_values_each_series_stands_for_itself() {
        let names = Names::default();
        let met = names.first_met(&[Dimension::Agent]);
        for n in 0..VALUES + 100 {
            let mut values = DimensionValues::default();
            values.set(&Dimension::Agent, Some(names.symbol(&n.to_string())));
            let one = names.series(&values);
            values.set(&Dimension::Team, Some(names.symbol("t")));
            let other = names.series(&values);
            assert_eq!(met.stand_in(one, &names), one);
            assert_eq!(met.stand_in(other, &names), if n < VALUES { one } else { other });
        }
    }

    #[test]
    fn names_keep_their_numbers_in_an_archive() {
        #[derive(Debug, Default)]
        struct Kept(std::sync::Mutex<std::collections::BTreeMap<Vec<u8>, Vec<u8>>>);
        impl Archive for Kept {
            fn get(&self, _: &[u8]) -> Result<Option<Vec<u8>>, Unreadable> {
                Ok(None)
            }
            fn scan(&self, prefix: &[u8], see: &mut dyn FnMut(&[u8], &[u8])) -> Result<(), Unreadable> {
                let all = self.0.lock().expect("no panic");
                all.iter().filter(|(key, _)| key.starts_with(prefix)).for_each(|(key, value)| see(key, value));
                Ok(())
            }
        }
        let (archive, names) = (Kept::default(), Names::default());
        let mut kept = NamesKept::default();
        for n in 0..5_000 {
            let mut values = DimensionValues::default();
            values.add_tag(names.symbol(&format!("tag {n}")));
            names.series(&values);
            if n % 700 == 0 {
                let mut changes = Vec::new();
                kept = names.put_away(kept, &mut changes);
                let changes = changes.into_iter().filter_map(|change| Some((change.key, change.value?)));
                archive.0.lock().expect("no panic").extend(changes);
            }
        }
        let (again, kept_again) = Names::open(&archive).expect("readable");
        assert_eq!(kept_again, kept);
        assert_eq!(kept, NamesKept { symbols: 4_901, series: 4_901 });
        for number in 0..4_901 {
            assert_eq!(again.values(SeriesId(number)), names.values(SeriesId(number)));
            let symbol = Symbol::from_number(number + 1).expect("not 0");
            assert_eq!(again.text(symbol), names.text(symbol));
            assert_eq!(again.find_symbol(names.text(symbol)), Some(symbol));
        }
    }

    #[test]
    fn four_threads_interning_the_same_values_agree() {
        let names = Names::default();
        let all: Vec<Vec<Symbol>> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| (0..2_000).map(|n| names.symbol(&format!("topic {n}"))).collect()))
                .collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
        });
        assert!(all.windows(2).all(|pair| pair[0] == pair[1]));
        assert!((0..2_000).all(|n| names.text(all[0][n]) == format!("topic {n}")));
    }

    #[test]
    fn tags_and_attributes_do_not_depend_on_the_order_they_were_set_in() {
        let names = Names::default();
        let (a, b) = (names.symbol("a"), names.symbol("b"));
        let mut one = DimensionValues::default();
        one.add_tag(a);
        one.add_tag(b);
        one.add_tag(a);
        one.set_custom(a, Some(b));
        one.set_custom(b, Some(b));
        let mut other = DimensionValues::default();
        other.add_tag(b);
        other.set_custom(b, Some(a));
        other.set_custom(b, Some(b));
        other.set_custom(a, Some(b));
        other.add_tag(a);
        assert_eq!(names.series(&one), names.series(&other));
        other.remove_tag(a);
        assert_ne!(names.series(&one), names.series(&other));
    }
}
