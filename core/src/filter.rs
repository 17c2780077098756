//! Which facts a question is about: filters as in [AIP-160](https://google.aip.dev/160).
//!
//! | text | holds when |
//! |---|---|
//! | `channel = "chat"`, `channel:chat` | the dimension has the value; for `tag`, when one of the tags is it |
//! | `channel != chat` | not `channel = chat`: also where no channel is set, and for `tag`, when no tag is it |
//! | `topic = "billing/*"` | a value starts with `billing/`; `"\*"` is the character itself |
//! | `agent:*` | the dimension is set |
//! | `country IN (DE, "FR")` | the dimension has one of these values (not part of AIP-160) |
//! | `attributes.seats >= 10` | a value is a decimal number, and in this order to another: `<`, `<=`, `>`, `>=` |
//! | `NOT x`, `-x` | `x` does not |
//! | `x OR y` | either does |
//! | `x AND y`, `x y` | both do |
//!
//! `OR` binds **tighter** than `AND`, as AIP-160 says: `a AND b OR c` is `a AND (b OR c)`. Keywords
//! are upper case, values are compared exactly, and a dimension stands to the left.
//!
//! A value is quoted, with `"` or `'`, or a bare word of letters, digits, `_`, `-`, `.`, `@` and
//! anything beyond ASCII that is not a space or a control character. In quotes, `\n`, `\r`, `\t` and
//! `\u263A` are the usual characters, and `\` before ASCII punctuation is that punctuation.
//!
//! A decimal number is `10`, `-2.5` or `0012.50`, of any length, and compared exactly; values that are none have no order.
//!
//! Of AIP-160, refused with a reason: order among other values, free text, functions, `*` anywhere but at the end of a value, and
//! a group in the place of a value.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::fmt::{self, Write as _};

use crate::dimension::Dimension;

/// The longest text read, in bytes.
pub const MAX_LENGTH: usize = 4096;
/// The most comparisons in a text.
pub const MAX_TERMS: usize = 256;
/// The deepest nesting; each parenthesis and each negation is a level.
pub const MAX_NESTING: usize = 32;
/// The most values in one `IN` list.
pub const MAX_VALUES: usize = 1000;

/// A condition on the dimensions of a fact.
///
/// Its [`Display`](fmt::Display) is the canonical text, which [`Filter::parse`] reads back as the same
/// filter. That text can be longer and deeper than the one read, so a filter at the edge of the
/// bounds may be refused when read again.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub enum Filter {
    /// No condition, the empty text. Never a part of another filter.
    #[default]
    Everything,
    /// All of these, two or more, none of them an `And`.
    And(Vec<Filter>),
    /// Any of these, two or more, none of them an `Or`.
    Or(Vec<Filter>),
    /// Not this.
    Not(Box<Filter>),
    /// The dimension has this value.
    Equals {
        /// What is compared.
        dimension: Dimension,
        /// The value looked for.
        value: Box<str>,
    },
    /// The dimension has a value that starts with these characters.
    Prefix {
        /// What is compared.
        dimension: Dimension,
        /// How the value starts; not empty, which would be [`Filter::IsSet`].
        prefix: Box<str>,
    },
    /// The dimension has one of these values.
    OneOf {
        /// What is compared.
        dimension: Dimension,
        /// The values looked for, one or more.
        values: BTreeSet<Box<str>>,
    },
    /// The dimension has a value that is a decimal number, in this order to another.
    Ordered {
        /// What is compared.
        dimension: Dimension,
        /// How.
        order: Order,
        /// The number compared with, as it was written.
        number: Box<str>,
    },
    /// The dimension has a value.
    IsSet(Dimension),
}

/// How a number is to stand to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Order {
    /// `<`
    Below,
    /// `<=`
    AtMost,
    /// `>`
    Above,
    /// `>=`
    AtLeast,
}

impl Order {
    fn symbol(self) -> &'static str {
        match self {
            Self::Below => "<",
            Self::AtMost => "<=",
            Self::Above => ">",
            Self::AtLeast => ">=",
        }
    }

    /// Whether one number stands so to another; false where either is none.
    fn holds(self, one: &str, other: &str) -> bool {
        let (Some(one), Some(other)) = (Decimal::parse(one), Decimal::parse(other)) else { return false };
        match self {
            Self::Below => one < other,
            Self::AtMost => one <= other,
            Self::Above => one > other,
            Self::AtLeast => one >= other,
        }
    }
}

/// A decimal number of any length.
#[derive(Debug, PartialEq, Eq)]
struct Decimal<'a> {
    /// Never zero.
    is_negative: bool,
    /// Without zeros before them.
    digits: &'a str,
    /// Without zeros after them.
    after_the_point: &'a str,
}

impl<'a> Decimal<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let (is_negative, amount) = text.strip_prefix('-').map_or((false, text), |amount| (true, amount));
        let (digits, after_the_point) = amount.split_once('.').unwrap_or((amount, "0"));
        let are_digits = |part: &str| !part.is_empty() && part.bytes().all(|it| it.is_ascii_digit());
        if !are_digits(digits) || !are_digits(after_the_point) {
            return None;
        }
        let (digits, after_the_point) = (digits.trim_start_matches('0'), after_the_point.trim_end_matches('0'));
        let is_zero = digits.is_empty() && after_the_point.is_empty();
        Some(Self { is_negative: is_negative && !is_zero, digits, after_the_point })
    }

    /// Orders by size, without a sign.
    fn size(&self) -> (usize, &'a str, &'a str) {
        (self.digits.len(), self.digits, self.after_the_point)
    }
}

impl Ord for Decimal<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self.is_negative, other.is_negative) {
            (false, false) => self.size().cmp(&other.size()),
            (true, true) => other.size().cmp(&self.size()),
            (true, false) => Ordering::Less,
            (false, true) => Ordering::Greater,
        }
    }
}

impl PartialOrd for Decimal<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Filter {
    /// Reads a filter; empty or blank text is [`Filter::Everything`].
    pub fn parse(text: &str) -> Result<Self, FilterError> {
        if text.len() > MAX_LENGTH {
            return Err(FilterError::TooLong { length: text.len() });
        }
        let mut parser = Parser::new(text);
        if parser.peek_token().is_none() {
            return Ok(Self::Everything);
        }
        let filter = parser.expression()?;
        match parser.peek_token() {
            None => Ok(filter),
            Some(found) => Err(parser.unexpected(found)),
        }
    }

    /// Whether a fact meets the condition.
    ///
    /// `any_value(dimension, test)` says whether any value the fact has for the dimension passes the
    /// test: `option.is_some_and(test)` for most, `tags.iter().any(..)` for tags, `false` when it
    /// has none.
    pub fn matches<F>(&self, any_value: &F) -> bool
    where
        F: Fn(&Dimension, &dyn Fn(&str) -> bool) -> bool,
    {
        match self {
            Self::Everything => true,
            Self::And(filters) => filters.iter().all(|it| it.matches(any_value)),
            Self::Or(filters) => filters.iter().any(|it| it.matches(any_value)),
            Self::Not(filter) => !filter.matches(any_value),
            Self::Equals { dimension, value } => any_value(dimension, &|it| it == &**value),
            Self::Prefix { dimension, prefix } => any_value(dimension, &|it| it.starts_with(&**prefix)),
            Self::OneOf { dimension, values } => any_value(dimension, &|it| values.contains(it)),
            Self::Ordered { dimension, order, number } => any_value(dimension, &|it| order.holds(it, number)),
            Self::IsSet(dimension) => any_value(dimension, &|_| true),
        }
    }

    /// Calls `see` with every dimension it looks at, some more than once.
    pub fn dimensions(&self, see: &mut impl FnMut(&Dimension)) {
        match self {
            Self::Everything => {}
            Self::And(filters) | Self::Or(filters) => filters.iter().for_each(|filter| filter.dimensions(see)),
            Self::Not(filter) => filter.dimensions(see),
            Self::Equals { dimension, .. }
            | Self::Prefix { dimension, .. }
            | Self::OneOf { dimension, .. }
            | Self::Ordered { dimension, .. }
            | Self::IsSet(dimension) => see(dimension),
        }
    }

    /// `AND` of one or more filters, flat: grouping alike with alike leaves no trace.
    fn all(filters: Vec<Self>) -> Self {
        let parts = filters.into_iter().flat_map(|it| match it {
            Self::And(inner) => inner,
            other => vec![other],
        });
        Self::one_or(Self::And, parts.collect())
    }

    /// `OR` of one or more filters, flat.
    fn any(filters: Vec<Self>) -> Self {
        let parts = filters.into_iter().flat_map(|it| match it {
            Self::Or(inner) => inner,
            other => vec![other],
        });
        Self::one_or(Self::Or, parts.collect())
    }

    fn one_or(several: fn(Vec<Self>) -> Self, filters: Vec<Self>) -> Self {
        match <[Self; 1]>::try_from(filters) {
            Ok([only]) => only,
            Err(filters) => several(filters),
        }
    }
}

/// Why a text is not a filter. Positions are byte offsets into the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// More than [`MAX_LENGTH`] bytes.
    #[error("filter has {length} bytes, more than {MAX_LENGTH}")]
    TooLong {
        /// The length of the text in bytes.
        length: usize,
    },
    /// More than [`MAX_TERMS`] comparisons.
    #[error("more than {MAX_TERMS} comparisons at position {position}")]
    TooManyTerms {
        /// Where the first one too many starts.
        position: usize,
    },
    /// More than [`MAX_NESTING`] levels.
    #[error("parentheses and negations nest deeper than {MAX_NESTING} at position {position}")]
    TooDeep {
        /// Where the first level too many opens.
        position: usize,
    },
    /// More than [`MAX_VALUES`] values in a list.
    #[error("more than {MAX_VALUES} values in a list at position {position}")]
    TooManyValues {
        /// Where the first one too many starts.
        position: usize,
    },
    /// Something is missing.
    #[error("expected {expected} at position {position}")]
    Expected {
        /// What is missing.
        expected: &'static str,
        /// Where it should stand.
        position: usize,
    },
    /// A character with no meaning in its place.
    #[error("unexpected {found:?} at position {position}")]
    Unexpected {
        /// The character.
        found: char,
        /// Where it stands.
        position: usize,
    },
    /// A quote that is never closed.
    #[error("quoted value is not closed at position {position}")]
    Unclosed {
        /// Where the quote opens.
        position: usize,
    },
    /// A `\` before something it does not combine with.
    #[error(
        "unknown escape at position {position}; known are \\n, \\r, \\t, \\u and four hex digits, \
         and \\ before punctuation"
    )]
    UnknownEscape {
        /// Where the `\` stands.
        position: usize,
    },
    /// A name that is no dimension.
    #[error(
        "unknown dimension {name:?} at position {position}; known are {}, and attributes.NAME \
         with 1 to 64 characters of a-z, 0-9 and _",
        Dimension::STANDARD.map(|it| it.to_string()).join(", ")
    )]
    UnknownDimension {
        /// The name.
        name: Box<str>,
        /// Where it stands.
        position: usize,
    },
    /// A comparison by order with something that is no number.
    #[error("{operator} compares decimal numbers such as 10 or -2.5, which {value:?} at position {position} is not")]
    NoNumber {
        /// `<`, `<=`, `>` or `>=`.
        operator: &'static str,
        /// What was to be compared with.
        value: Box<str>,
        /// Where it stands.
        position: usize,
    },
    /// Words that are compared with nothing.
    #[error(
        "free text at position {position} is not searched; compare it with a dimension, or quote \
         a value of several words"
    )]
    FreeText {
        /// Where it starts.
        position: usize,
    },
    /// A function call.
    #[error("functions are not supported at position {position}")]
    Function {
        /// Where the function's name starts.
        position: usize,
    },
    /// A `*` where it is no wildcard.
    #[error(
        "\"*\" at position {position} stands only for the end of a value after =, != or :; \
         quote the value and write \\* for the character itself"
    )]
    Wildcard {
        /// Where it stands.
        position: usize,
    },
    /// A keyword in lower or mixed case.
    #[error("keywords are upper case: write {keyword} at position {position}")]
    KeywordCase {
        /// The keyword as it should be.
        keyword: &'static str,
        /// Where it stands.
        position: usize,
    },
}

impl FilterError {
    /// The byte offset the error is about; `None` when it is about the whole text.
    #[must_use]
    pub fn position(&self) -> Option<usize> {
        match *self {
            Self::TooLong { .. } => None,
            Self::TooManyTerms { position }
            | Self::TooDeep { position }
            | Self::TooManyValues { position }
            | Self::Expected { position, .. }
            | Self::Unexpected { position, .. }
            | Self::Unclosed { position }
            | Self::UnknownEscape { position }
            | Self::UnknownDimension { position, .. }
            | Self::NoNumber { position, .. }
            | Self::FreeText { position }
            | Self::Function { position }
            | Self::Wildcard { position }
            | Self::KeywordCase { position, .. } => Some(position),
        }
    }
}

/// Writes the canonical text: every value quoted, every group in a group in parentheses, so that
/// nobody has to remember which of `AND` and `OR` binds tighter.
impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everything => Ok(()),
            Self::And(filters) => write_joined(f, filters, " AND "),
            Self::Or(filters) => write_joined(f, filters, " OR "),
            Self::Not(filter) => match &**filter {
                Self::Equals { dimension, value } => {
                    write!(f, "{dimension} != {}", Quoted(value, ""))
                }
                Self::Prefix { dimension, prefix } => {
                    write!(f, "{dimension} != {}", Quoted(prefix, "*"))
                }
                filter => {
                    f.write_str("NOT ")?;
                    write_part(f, filter)
                }
            },
            Self::Equals { dimension, value } => write!(f, "{dimension} = {}", Quoted(value, "")),
            Self::Prefix { dimension, prefix } => {
                write!(f, "{dimension} = {}", Quoted(prefix, "*"))
            }
            Self::OneOf { dimension, values } => {
                write!(f, "{dimension} IN (")?;
                for (index, value) in values.iter().enumerate() {
                    let comma = if index == 0 { "" } else { ", " };
                    write!(f, "{comma}{}", Quoted(value, ""))?;
                }
                f.write_char(')')
            }
            Self::Ordered { dimension, order, number } => {
                write!(f, "{dimension} {} {}", order.symbol(), Quoted(number, ""))
            }
            Self::IsSet(dimension) => write!(f, "{dimension}:*"),
        }
    }
}

fn write_joined(f: &mut fmt::Formatter<'_>, filters: &[Filter], keyword: &str) -> fmt::Result {
    for (index, filter) in filters.iter().enumerate() {
        if index > 0 {
            f.write_str(keyword)?;
        }
        write_part(f, filter)?;
    }
    Ok(())
}

fn write_part(f: &mut fmt::Formatter<'_>, filter: &Filter) -> fmt::Result {
    if matches!(filter, Filter::And(_) | Filter::Or(_)) { write!(f, "({filter})") } else { write!(f, "{filter}") }
}

/// A value in quotes, then, inside the quotes, a wildcard or nothing.
struct Quoted<'a>(&'a str, &'static str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for c in self.0.chars() {
            match c {
                '"' | '\\' | '*' => write!(f, "\\{c}")?,
                '\n' => f.write_str("\\n")?,
                '\r' => f.write_str("\\r")?,
                '\t' => f.write_str("\\t")?,
                // Control characters end at U+009F: four digits are enough.
                c if c.is_control() => write!(f, "\\u{:04X}", u32::from(c))?,
                c => f.write_char(c)?,
            }
        }
        write!(f, "{}\"", self.1)
    }
}

const COMPARISON: &str = "a comparison";

/// A recursive descent over the characters: whether `-` negates or belongs to a word depends on the
/// place, so there is no separate lexer.
///
/// ```text
/// expression = factor { ["AND"] factor }
/// factor     = term { "OR" term }
/// term       = { "NOT" | "-" } ( "(" expression ")" | comparison )
/// comparison = dimension ( ("=" | "!=" | ":" | "<" | "<=" | ">" | ">=") value | "IN" "(" value { "," value } ")" )
/// ```
struct Parser<'a> {
    text: &'a str,
    position: usize,
    terms: usize,
    nesting: usize,
}

#[derive(Clone, Copy)]
enum Operator {
    Equals,
    Differs,
    Has,
    Order(Order),
    In,
}

/// A value as written, escapes resolved; a wildcard at its end is cut off.
#[derive(Default)]
struct Literal {
    text: String,
    wildcard: Option<usize>,
}

impl<'a> Parser<'a> {
    fn new(text: &'a str) -> Self {
        Self { text, position: 0, terms: 0, nesting: 0 }
    }

    fn expression(&mut self) -> Result<Filter, FilterError> {
        let mut factors = vec![self.factor()?];
        while !matches!(self.peek_token(), None | Some(')')) {
            self.eat_keyword("AND");
            factors.push(self.factor()?);
        }
        Ok(Filter::all(factors))
    }

    fn factor(&mut self) -> Result<Filter, FilterError> {
        let mut terms = vec![self.term()?];
        while self.eat_keyword("OR") {
            terms.push(self.term()?);
        }
        Ok(Filter::any(terms))
    }

    fn term(&mut self) -> Result<Filter, FilterError> {
        let outside = self.nesting;
        loop {
            self.skip_space();
            let position = self.position;
            if !self.eat_keyword("NOT") && !self.eat('-') {
                break;
            }
            self.descend(position)?;
        }
        let negations = self.nesting - outside;
        let filter = match self.peek() {
            Some('(') => self.group()?,
            _ => self.comparison()?,
        };
        self.nesting = outside;
        Ok((0..negations).fold(filter, |it, _| Filter::Not(Box::new(it))))
    }

    fn group(&mut self) -> Result<Filter, FilterError> {
        self.descend(self.position)?;
        self.eat('(');
        let filter = self.expression()?;
        self.expect(')', "\")\"")?;
        Ok(filter)
    }

    fn comparison(&mut self) -> Result<Filter, FilterError> {
        let position = self.position;
        let name = match self.peek() {
            None | Some(')') => return Err(self.expected(COMPARISON)),
            Some('"' | '\'') => return Err(FilterError::FreeText { position }),
            Some(found) if !is_word(found) => return Err(self.unexpected(found)),
            Some(_) => self.take_word(),
        };
        if is_keyword(name) {
            return Err(FilterError::Expected { expected: COMPARISON, position });
        }
        if self.peek() == Some('(') {
            return Err(FilterError::Function { position });
        }
        let dimension = Dimension::parse(name);
        self.skip_space();
        let Some(operator) = self.eat_operator() else {
            return Err(self.no_operator(name, position, dimension.is_some()));
        };
        let dimension = dimension.ok_or_else(|| FilterError::UnknownDimension { name: name.into(), position })?;
        self.terms += 1;
        if self.terms > MAX_TERMS {
            return Err(FilterError::TooManyTerms { position });
        }
        match operator {
            Operator::Equals => Ok(equals(dimension, self.value("a value after \"=\"")?)),
            Operator::Has => Ok(equals(dimension, self.value("a value after \":\"")?)),
            Operator::Differs => {
                let filter = equals(dimension, self.value("a value after \"!=\"")?);
                Ok(Filter::Not(Box::new(filter)))
            }
            Operator::Order(order) => {
                let number = self.number(order)?;
                Ok(Filter::Ordered { dimension, order, number })
            }
            Operator::In => {
                let values = self.list()?;
                Ok(Filter::OneOf { dimension, values })
            }
        }
    }

    /// Tells apart why a word is compared with nothing.
    fn no_operator(&self, name: &str, position: usize, is_dimension: bool) -> FilterError {
        let next = self.peek_word();
        let mut keywords = ["AND", "OR", "NOT"].into_iter();
        if let Some(keyword) = keywords.find(|it| it.eq_ignore_ascii_case(name)) {
            FilterError::KeywordCase { keyword, position }
        } else if !is_dimension {
            FilterError::FreeText { position }
        } else if next.eq_ignore_ascii_case("IN") {
            FilterError::KeywordCase { keyword: "IN", position: self.position }
        } else {
            self.expected("=, !=, :, <, <=, >, >= or IN after the dimension")
        }
    }

    fn number(&mut self, order: Order) -> Result<Box<str>, FilterError> {
        self.skip_space();
        let position = self.position;
        let Literal { text, wildcard } = self.value("a number")?;
        if let Some(position) = wildcard {
            return Err(FilterError::Wildcard { position });
        }
        let value = text.into_boxed_str();
        if Decimal::parse(&value).is_none() {
            return Err(FilterError::NoNumber { operator: order.symbol(), value, position });
        }
        Ok(value)
    }

    fn list(&mut self) -> Result<BTreeSet<Box<str>>, FilterError> {
        self.expect('(', "\"(\" after IN")?;
        let mut values = BTreeSet::new();
        for count in 1.. {
            self.skip_space();
            let position = self.position;
            let literal = self.value("a value in the list")?;
            if let Some(position) = literal.wildcard {
                return Err(FilterError::Wildcard { position });
            }
            if count > MAX_VALUES {
                return Err(FilterError::TooManyValues { position });
            }
            values.insert(literal.text.into());
            self.skip_space();
            if !self.eat(',') {
                break;
            }
        }
        self.expect(')', "\",\" or \")\" in the list")?;
        Ok(values)
    }

    fn value(&mut self, expected: &'static str) -> Result<Literal, FilterError> {
        self.skip_space();
        let position = self.position;
        if let Some(quote @ ('"' | '\'')) = self.peek() {
            return self.quoted(quote);
        }
        let word = self.take_word();
        if word.is_empty() || is_keyword(word) {
            return Err(FilterError::Expected { expected, position });
        }
        if self.peek() == Some('(') {
            return Err(FilterError::Function { position });
        }
        let mut literal = Literal::default();
        for (offset, c) in word.char_indices() {
            literal.push(c, (c == '*').then_some(position + offset))?;
        }
        Ok(literal)
    }

    fn quoted(&mut self, quote: char) -> Result<Literal, FilterError> {
        let start = self.position;
        self.eat(quote);
        let mut literal = Literal::default();
        loop {
            let position = self.position;
            match self.next() {
                None => return Err(FilterError::Unclosed { position: start }),
                Some(c) if c == quote => return Ok(literal),
                Some('\\') => {
                    let Some(escaped) = self.next() else {
                        return Err(FilterError::Unclosed { position: start });
                    };
                    let resolved = self.resolve_escape(escaped);
                    let c = resolved.ok_or(FilterError::UnknownEscape { position })?;
                    literal.push(c, None)?;
                }
                Some(c) => literal.push(c, (c == '*').then_some(position))?,
            }
        }
    }

    fn resolve_escape(&mut self, escaped: char) -> Option<char> {
        match escaped {
            'n' => Some('\n'),
            'r' => Some('\r'),
            't' => Some('\t'),
            'u' => {
                let mut code = 0;
                for _ in 0..4 {
                    code = code * 16 + self.next()?.to_digit(16)?;
                }
                char::from_u32(code)
            }
            c => c.is_ascii_punctuation().then_some(c),
        }
    }

    fn eat_operator(&mut self) -> Option<Operator> {
        const SYMBOLS: [(&str, Operator); 7] = [
            // A symbol stands before any that it starts with.
            ("<=", Operator::Order(Order::AtMost)),
            ("<", Operator::Order(Order::Below)),
            (">=", Operator::Order(Order::AtLeast)),
            (">", Operator::Order(Order::Above)),
            ("!=", Operator::Differs),
            ("=", Operator::Equals),
            (":", Operator::Has),
        ];
        if self.eat_keyword("IN") {
            return Some(Operator::In);
        }
        let rest = self.rest();
        let (symbol, operator) = SYMBOLS.into_iter().find(|(it, _)| rest.starts_with(it))?;
        self.position += symbol.len();
        Some(operator)
    }

    fn descend(&mut self, position: usize) -> Result<(), FilterError> {
        self.nesting += 1;
        if self.nesting > MAX_NESTING {
            return Err(FilterError::TooDeep { position });
        }
        Ok(())
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.position..).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn peek_token(&mut self) -> Option<char> {
        self.skip_space();
        self.peek()
    }

    fn peek_word(&self) -> &'a str {
        let rest = self.rest();
        let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        rest.get(..end).unwrap_or_default()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.position += c.len_utf8();
        Some(c)
    }

    fn take_word(&mut self) -> &'a str {
        let word = self.peek_word();
        self.position += word.len();
        word
    }

    fn eat(&mut self, c: char) -> bool {
        let found = self.peek() == Some(c);
        if found {
            self.position += c.len_utf8();
        }
        found
    }

    fn eat_keyword(&mut self, keyword: &str) -> bool {
        self.skip_space();
        let found = self.peek_word() == keyword;
        if found {
            self.position += keyword.len();
        }
        found
    }

    fn expect(&mut self, c: char, expected: &'static str) -> Result<(), FilterError> {
        self.skip_space();
        if self.eat(c) { Ok(()) } else { Err(self.expected(expected)) }
    }

    fn skip_space(&mut self) {
        let rest = self.rest();
        self.position += rest.len() - rest.trim_start().len();
    }

    fn expected(&self, expected: &'static str) -> FilterError {
        FilterError::Expected { expected, position: self.position }
    }

    fn unexpected(&self, found: char) -> FilterError {
        FilterError::Unexpected { found, position: self.position }
    }
}

impl Literal {
    /// Adds a character; one given with a position is a wildcard, and has to be the last.
    fn push(&mut self, c: char, wildcard: Option<usize>) -> Result<(), FilterError> {
        if let Some(position) = self.wildcard {
            return Err(FilterError::Wildcard { position });
        }
        self.wildcard = wildcard;
        if wildcard.is_none() {
            self.text.push(c);
        }
        Ok(())
    }
}

fn equals(dimension: Dimension, literal: Literal) -> Filter {
    let text = literal.text.into_boxed_str();
    match literal.wildcard {
        None => Filter::Equals { dimension, value: text },
        Some(_) if text.is_empty() => Filter::IsSet(dimension),
        Some(_) => Filter::Prefix { dimension, prefix: text },
    }
}

/// `IN` is not reserved: it is a keyword only after a dimension, and India everywhere else.
fn is_keyword(word: &str) -> bool {
    matches!(word, "AND" | "OR" | "NOT")
}

fn is_word(c: char) -> bool {
    if c.is_ascii() { c.is_ascii_alphanumeric() || "_-.@*".contains(c) } else { !c.is_whitespace() && !c.is_control() }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::dimension::AttributeName;

    /// The canonical text, checked to be read as the same filter, or `!` and the error.
    fn read(text: &str) -> String {
        match Filter::parse(text) {
            Ok(filter) => {
                let canonical = filter.to_string();
                assert_eq!(Filter::parse(&canonical), Ok(filter), "{text}");
                canonical
            }
            Err(error) => format!("! {error}"),
        }
    }

    /// Checks lines of `text => canonical text`, or `text => ! how the error starts`.
    fn check(table: &str) {
        for line in table.lines().filter(|it| !it.trim().is_empty()) {
            let (text, want) = line.split_once(" => ").unwrap_or((line, "a want"));
            let got = read(text.trim_start());
            assert!(got == want || want.starts_with('!') && got.starts_with(want), "{line}\n{got}");
        }
    }

    #[test]
    fn comparisons_read_as_their_canonical_text() {
        assert_eq!(read(""), "");
        assert_eq!(read(" \t\n\u{3000}"), "");
        check(
            r#"
            channel = "chat" => channel = "chat"
            channel='chat'   => channel = "chat"
            channel:chat => channel = "chat"
            channel != chat => channel != "chat"
            channel = "" => channel = ""
            tag:"vip" => tag = "vip"
            tag:* => tag:*
            agent = * => agent:*
            agent != "*" => NOT agent:*
            queue = a segment = b => team = "a" AND customer_segment = "b"
            attributes.plan_2=gold => attributes.plan_2 = "gold"
            attributes.seats>=10 => attributes.seats >= "10"
            attributes.seats < -2.50 OR team > '007' => attributes.seats < "-2.50" OR team > "007"
            NOT attributes.seats <= 3 => NOT attributes.seats <= "3"
            topic = billing* => topic = "billing*"
            topic:"billing/*" => topic = "billing/*"
            topic != bill* => topic != "bill*"
            topic = "5\*" => topic = "5\*"
            channel IN ("chat", 'email') => channel IN ("chat", "email")
            channel IN(email ,chat,email) => channel IN ("chat", "email")
            country IN (IN) => country IN ("IN")
            country = IN language = es-419 => country = "IN" AND language = "es-419"
            tag = -2.4 => tag = "-2.4"
            tag = com.example => tag = "com.example"
            agent = ann@example.com => agent = "ann@example.com"
            tag = Ünïcode_日本語 => tag = "Ünïcode_日本語"
            tag = NOTE OR tag = ANDY => tag = "NOTE" OR tag = "ANDY"
            "#,
        );
    }

    #[test]
    fn or_binds_tighter_than_and_and_negation_tighter_than_both() {
        assert_eq!(read("\n\tagent:* AND\n\t(team = d OR topic = d)\n"), "agent:* AND (team = \"d\" OR topic = \"d\")");
        check(
            r#"
            tag:a tag:b tag:c => tag = "a" AND tag = "b" AND tag = "c"
            tag:a tag:b tag:c OR tag:d => tag = "a" AND tag = "b" AND (tag = "c" OR tag = "d")
            tag:a tag:b (tag:c OR tag:d) => tag = "a" AND tag = "b" AND (tag = "c" OR tag = "d")
            tag:a AND tag:b OR tag:c AND tag:d => tag = "a" AND (tag = "b" OR tag = "c") AND tag = "d"
            tag:a OR tag:b tag:c OR tag:d => (tag = "a" OR tag = "b") AND (tag = "c" OR tag = "d")
            (tag:a AND tag:b) OR tag:c => (tag = "a" AND tag = "b") OR tag = "c"
            tag:a tag:b AND tag:c AND tag:d => tag = "a" AND tag = "b" AND tag = "c" AND tag = "d"
            (tag:a tag:b) AND tag:c => tag = "a" AND tag = "b" AND tag = "c"
            tag:a OR (tag:b OR tag:c) => tag = "a" OR tag = "b" OR tag = "c"
            ((tag:a)) => tag = "a"
            NOT tag:a OR tag:b => tag != "a" OR tag = "b"
            NOT (tag:a OR tag:b) => NOT (tag = "a" OR tag = "b")
            NOT(tag:a tag:b) => NOT (tag = "a" AND tag = "b")
            -tag:".java" => tag != ".java"
            tag:a -tag:b => tag = "a" AND tag != "b"
            -(tag:a) => tag != "a"
            NOT channel IN (a) => NOT channel IN ("a")
            NOT NOT tag:a => NOT tag != "a"
            --tag:* => NOT NOT tag:*
            "#,
        );
    }

    #[test]
    fn escapes_are_resolved_once() {
        assert_eq!(read("tag = \"\u{7}\u{9f}\t\""), r#"tag = "\u0007\u009F\t""#);
        check(
            r#"
            tag = "\\\"" => tag = "\\\""
            tag = "\\" => tag = "\\"
            tag = '\'' => tag = "'"
            tag = "[ \'x\' ]" => tag = "[ 'x' ]"
            tag = '[ "x" ]' => tag = "[ \"x\" ]"
            tag = "\u263A\?\n" => tag = "☺?\n"
            tag = "\u0000" => tag = "\u0000"
            tag = "\x41" => ! unknown escape at position 7
            tag = "\303" => ! unknown escape at position 7
            tag = "ab\uD83D" => ! unknown escape at position 9
            tag = "\u26" => ! unknown escape at position 7
            tag = "\ => ! quoted value is not closed at position 6
            tag = "vip => ! quoted value is not closed at position 6
            "#,
        );
    }

    #[test]
    fn refusals_say_what_is_wrong_and_where() {
        assert_eq!(read("tag = a\u{1}b"), "! unexpected '\\u{1}' at position 7");
        check(
            r#"
            channel =  => ! expected a value after "=" at position 10
            channel == chat => ! expected a value after "=" at position 9
            channel != AND tag:a => ! expected a value after "!=" at position 11
            channel:(a OR b) => ! expected a value after ":" at position 8
            channel => ! expected =, !=, :, <, <=, >, >= or IN after the dimension at position 7
            channel ! = a => ! expected =, !=, :, <, <=, >, >= or IN after the dimension at position 8
            channel IN chat => ! expected "(" after IN at position 11
            channel IN () => ! expected a value in the list at position 12
            channel IN (a,) => ! expected a value in the list at position 14
            channel IN (a b) => ! expected "," or ")" in the list at position 14
            channel IN (a*) => ! "*" at position 13 stands only for the end
            channel = *chat => ! "*" at position 10 stands only for the end
            channel = "ch**" => ! "*" at position 13 stands only for the end
            < => ! unexpected '<' at position 0
            tag:a && tag:b => ! unexpected '&' at position 6
            tag:a, tag:b => ! unexpected ',' at position 5
            (tag:a)) => ! unexpected ')' at position 7
            (tag:a => ! expected ")" at position 6
            () => ! expected a comparison at position 1
            tag:a AND => ! expected a comparison at position 9
            tag:a OR OR tag:b => ! expected a comparison at position 9
            AND tag:a => ! expected a comparison at position 0
            NOT => ! expected a comparison at position 3
            - - => ! expected a comparison at position 3
            New York => ! free text at position 0
            -30 => ! free text at position 1
            "refund" => ! free text at position 0
            (-2.5) >= -2.4 => ! free text at position 2
            tag = é york => ! free text at position 9
            tag:a and tag:b => ! keywords are upper case: write AND at position 6
            not tag:a => ! keywords are upper case: write NOT at position 0
            channel in (chat) => ! keywords are upper case: write IN at position 8
            priority >= high => ! >= compares decimal numbers such as 10 or -2.5, which "high" at position 12 is not
            team<"" => ! < compares decimal numbers such as 10 or -2.5, which "" at position 5 is not
            team < 1e3 => ! < compares decimal numbers
            team < 1. => ! < compares decimal numbers
            team < - => ! < compares decimal numbers
            team > 3* => ! "*" at position 8 stands only for the end
            team > => ! expected a number at position 6
            now() = 3 => ! functions are not supported at position 0
            topic.has('x') => ! functions are not supported at position 0
            team = cohort(x) => ! functions are not supported at position 7
            Channel = chat => ! unknown dimension "Channel" at position 0; known are channel, direction
            attributes:plan => ! unknown dimension "attributes" at position 0
            tag:a colour > 3 => ! unknown dimension "colour" at position 6
            "#,
        );
    }

    #[test]
    fn every_bound_is_met_exactly_and_refused_one_beyond() {
        let nested = |n: usize| format!("{}tag:a{}", "(".repeat(n), ")".repeat(n));
        let negated = |n: usize| format!("{}tag:a", "NOT ".repeat(n));
        let listed = |n: usize| format!("tag IN ({})", vec!["a"; n].join(","));
        let terms = |n: usize| "tag:a ".repeat(n);
        let long = |n: usize| format!("tag:{}", "a".repeat(n - 4));

        for text in [nested(32), negated(32), listed(1000), terms(256), long(4096)] {
            assert!(Filter::parse(&text).is_ok(), "{text}");
        }
        // Levels that were left do not count.
        assert!(Filter::parse(&nested(32).repeat(2)).is_ok());

        for (text, want) in [
            (nested(33), "! parentheses and negations nest deeper than 32 at position 32"),
            (negated(33), "! parentheses and negations nest deeper than 32 at position 128"),
            ("(".repeat(4096), "! parentheses and negations nest deeper than 32 at position 32"),
            ("-".repeat(4096), "! parentheses and negations nest deeper than 32 at position 32"),
            ("- ".repeat(2048), "! parentheses and negations nest deeper than 32 at position 64"),
            ("NOT (".repeat(800), "! parentheses and negations nest deeper than 32 at position 80"),
            (listed(1001), "! more than 1000 values in a list at position 2008"),
            (terms(257), "! more than 256 comparisons at position 1536"),
            (long(4097), "! filter has 4097 bytes, more than 4096"),
        ] {
            assert_eq!(read(&text), want, "{text}");
        }
        let error = Filter::parse(&long(4097)).err();
        assert_eq!(error.and_then(|it| it.position()), None);
    }

    /// The values a fact has, by the name of the dimension.
    type Fact = BTreeMap<String, Vec<String>>;

    fn matches(filter: &Filter, fact: &Fact) -> bool {
        filter.matches(&|dimension, test| {
            let values = fact.get(dimension.name());
            values.is_some_and(|it| it.iter().any(|value| test(value)))
        })
    }

    #[test]
    fn not_equal_holds_where_nothing_is_set_and_where_no_tag_is_equal() {
        let fact =
            |name: &str, values: &[&str]| Fact::from([(name.into(), values.iter().map(ToString::to_string).collect())]);
        let cases = [
            ("", fact("tag", &[]), true),
            ("channel != chat", fact("tag", &[]), true),
            ("channel != chat", fact("channel", &["chat"]), false),
            ("tag != vip", fact("tag", &["new"]), true),
            ("tag != vip", fact("tag", &["new", "vip"]), false),
            ("tag:new tag:vip", fact("tag", &["new", "vip"]), true),
            ("tag IN (old, vip)", fact("tag", &["new", "vip"]), true),
            ("tag = v*", fact("tag", &["new", "vip"]), true),
            ("tag = V*", fact("tag", &["new", "vip"]), false),
            ("channel:*", fact("channel", &["chat"]), true),
            ("channel:*", fact("tag", &["vip"]), false),
            ("team > 9", fact("team", &["10"]), true),
            ("team > 9", fact("team", &["ten"]), false),
            ("team <= 9", fact("team", &["ten"]), false),
            ("NOT team > 9", fact("team", &["ten"]), true),
            ("NOT team > 9", fact("tag", &[]), true),
            ("tag < 3", fact("tag", &["vip", "2.9"]), true),
        ];
        for (text, fact, want) in cases {
            let filter = Filter::parse(text);
            assert_eq!(filter.map(|it| matches(&it, &fact)), Ok(want), "{text} on {fact:?}");
        }
    }

    /// The same meaning with no short cuts: collect the values, then count.
    fn holds(filter: &Filter, fact: &Fact) -> bool {
        let values = |it: &Dimension| fact.get(it.name()).cloned().unwrap_or_default();
        let count = |filters: &[Filter]| filters.iter().filter(|it| holds(it, fact)).count();
        match filter {
            Filter::Everything => true,
            Filter::And(filters) => count(filters) == filters.len(),
            Filter::Or(filters) => count(filters) > 0,
            Filter::Not(filter) => !holds(filter, fact),
            Filter::Equals { dimension, value } => values(dimension).contains(&value.to_string()),
            Filter::Prefix { dimension, prefix } => {
                let all = values(dimension);
                all.iter().filter(|it| it.find(&**prefix) == Some(0)).count() > 0
            }
            Filter::OneOf { dimension, values: wanted } => {
                let all = values(dimension);
                wanted.iter().filter(|it| all.contains(&it.to_string())).count() > 0
            }
            Filter::Ordered { dimension, order, number } => {
                let number: f64 = number.parse().expect("a number");
                let read = |value: &String| value.parse::<f64>().ok();
                let numbers: Vec<f64> = values(dimension).iter().filter_map(read).collect();
                let holds = |it: &&f64| match order {
                    Order::Below => **it < number,
                    Order::AtMost => **it <= number,
                    Order::Above => **it > number,
                    Order::AtLeast => **it >= number,
                };
                numbers.iter().filter(holds).count() > 0
            }
            Filter::IsSet(dimension) => !values(dimension).is_empty(),
        }
    }

    /// Numbers as one may write them, small enough to be told apart as `f64`.
    fn numbers() -> impl Strategy<Value = String> {
        ("-?", 0..1_100_u32, "0{0,2}", prop::option::of("[0-9]{1,3}")).prop_map(|(sign, whole, zeros, rest)| {
            let rest = rest.map_or(String::new(), |rest| format!(".{rest}"));
            format!("{sign}{zeros}{whole}{rest}")
        })
    }

    fn dimensions() -> impl Strategy<Value = Dimension> {
        let custom = AttributeName::parse("plan").map(Dimension::Custom);
        let all: Vec<_> = Dimension::STANDARD.into_iter().chain(custom).collect();
        prop::sample::select(all)
    }

    /// Filters as [`Filter::parse`] makes them, over any dimension and value given.
    fn filters(
        dimension: impl Strategy<Value = Dimension> + 'static,
        value: impl Strategy<Value = String> + 'static,
    ) -> impl Strategy<Value = Filter> {
        let dimension = dimension.boxed();
        let value = value.prop_map(String::into_boxed_str).boxed();
        let values = prop::collection::btree_set(value.clone(), 1..4);
        let leaf = prop_oneof![
            (dimension.clone(), value.clone()).prop_map(|(dimension, value)| Filter::Equals { dimension, value }),
            (dimension.clone(), value.prop_filter("a prefix", |it| !it.is_empty()))
                .prop_map(|(dimension, prefix)| Filter::Prefix { dimension, prefix }),
            (dimension.clone(), values).prop_map(|(dimension, values)| Filter::OneOf { dimension, values }),
            (dimension.clone(), orders(), numbers())
                .prop_map(|(dimension, order, number)| { Filter::Ordered { dimension, order, number: number.into() } }),
            dimension.prop_map(Filter::IsSet),
        ];
        leaf.prop_recursive(4, 16, 3, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 1..4).prop_map(Filter::all),
                prop::collection::vec(inner.clone(), 1..4).prop_map(Filter::any),
                inner.prop_map(|it| Filter::Not(Box::new(it))),
            ]
        })
    }

    fn orders() -> impl Strategy<Value = Order> {
        prop::sample::select(vec![Order::Below, Order::AtMost, Order::Above, Order::AtLeast])
    }

    fn any_value() -> impl Strategy<Value = String> {
        let character = prop_oneof![any::<char>(), prop::sample::select(r#""'\*-()n"#.chars().collect::<Vec<_>>())];
        prop::collection::vec(character, 0..5).prop_map(String::from_iter)
    }

    fn few_values() -> impl Strategy<Value = String> {
        let few = vec!["a", "ab", "b", "7", "-7.0", "1000"];
        prop_oneof![prop::sample::select(few).prop_map(String::from), numbers()]
    }

    fn few_dimensions() -> impl Strategy<Value = Dimension> {
        prop::sample::select(vec![Dimension::Channel, Dimension::Topic, Dimension::Tag])
    }

    fn facts() -> impl Strategy<Value = Fact> {
        let values = |most: usize| prop::collection::vec(few_values(), 0..=most);
        (values(1), values(1), values(3)).prop_map(|(channel, topic, tag)| {
            let all = [("channel", channel), ("topic", topic), ("tag", tag)];
            Fact::from(all.map(|(name, values)| (name.into(), values)))
        })
    }

    /// Texts that are often nearly filters.
    fn texts() -> impl Strategy<Value = String> {
        let piece = prop::sample::select(vec![
            "tag",
            "channel",
            "attributes.x",
            "=",
            "!=",
            ":",
            "<",
            "(",
            ")",
            "AND",
            "OR",
            "NOT",
            "IN",
            "-",
            "*",
            "\"",
            "'",
            "\\",
            "\\u26",
            ",",
            "a",
            "é",
            "\"b\"",
            " ",
            "tag:a",
        ])
        .prop_map(String::from);
        let piece = prop_oneof![8 => piece, 1 => any::<char>().prop_map(String::from)];
        prop::collection::vec(piece, 0..24).prop_map(|it| it.join(" ").replace("  ", ""))
    }

    proptest! {
        #[test]
        fn numbers_are_in_their_order(one in numbers(), other in numbers()) {
            // Adding zero makes a negative one positive.
            let value = |text: &str| text.parse::<f64>().expect("a number") + 0.0;
            let (read, other_read) = (Decimal::parse(&one), Decimal::parse(&other));
            prop_assert_eq!(read.cmp(&other_read), value(&one).total_cmp(&value(&other)), "{} {}", one, other);
        }

        #[test]
        fn the_canonical_text_is_read_as_the_same_filter(filter in filters(dimensions(), any_value())) {
            prop_assert_eq!(Filter::parse(&filter.to_string()), Ok(filter));
        }

        #[test]
        fn any_text_is_read_or_refused_at_a_position_inside_it(
            text in prop_oneof![texts(), any::<String>()],
        ) {
            match Filter::parse(&text) {
                Ok(filter) => prop_assert_eq!(Filter::parse(&filter.to_string()), Ok(filter)),
                Err(error) => {
                    let position = error.position();
                    prop_assert!(position.is_some_and(|it| text.is_char_boundary(it)), "{error}");
                }
            }
        }

        #[test]
        fn matching_agrees_with_counting_and_with_de_morgan(
            parts in prop::collection::vec(filters(few_dimensions(), few_values()), 1..4),
            fact in facts(),
        ) {
            let not = |it: Filter| Filter::Not(Box::new(it));
            let negated: Vec<_> = parts.iter().cloned().map(not).collect();
            let (all, any) = (Filter::all(parts.clone()), Filter::any(parts));
            prop_assert_eq!(matches(&all, &fact), holds(&all, &fact));
            prop_assert_eq!(matches(&any, &fact), holds(&any, &fact));
            prop_assert_eq!(matches(&not(all), &fact), matches(&Filter::any(negated.clone()), &fact));
            prop_assert_eq!(matches(&not(any), &fact), matches(&Filter::all(negated), &fact));
        }
    }
}
