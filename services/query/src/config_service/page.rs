//! Lists in pages.

use deskpulse_edge::fault::{Fault, Reason};

use super::Version;

/// Versions on a page that says no size.
const DEFAULT: usize = 100;
/// The most versions on a page.
const MOST: usize = 1_000;
/// Hexadecimal digits of a time in a token.
const TIME: usize = 16;

/// Which part of a list is wanted.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Page {
    size: usize,
    /// The last version of the page before; `None` for the first page.
    after: Option<(String, i64)>,
}

/// A page as a request asks for it.
pub(super) fn page(size: i32, token: &str) -> Result<Page, Fault> {
    let Ok(size) = usize::try_from(size) else {
        let message = format!("page_size is {size}, it must be from 0 to {MOST}: 0 means {DEFAULT}");
        return Err(Fault::in_field(Reason::FieldInvalid, "page_size", message));
    };
    let size = if size == 0 { DEFAULT } else { size.min(MOST) };
    if token.is_empty() {
        return Ok(Page { size, after: None });
    }
    let after = parse(token).ok_or_else(|| {
        let message = "page_token is not one of ours: send next_page_token of the page before, or nothing";
        Fault::in_field(Reason::FieldInvalid, "page_token", message)
    })?;
    Ok(Page { size, after: Some(after) })
}

impl Page {
    /// This page of a list that is ordered by id and time, and the token of the next page; empty at the end.
    pub(super) fn of<V: Version>(&self, versions: Vec<V>) -> (Vec<V>, String) {
        let after = self.after.as_ref().map(|(id, ms)| (id.as_str(), *ms));
        let mut rest = versions.into_iter().filter(|version| after.is_none_or(|after| version.key() > after));
        let page: Vec<V> = rest.by_ref().take(self.size).collect();
        let next = page.last().filter(|_| rest.next().is_some()).map(token);
        (page, next.unwrap_or_default())
    }
}

/// The time, then the id, both in hexadecimal digits.
fn token<V: Version>(last: &V) -> String {
    let (id, ms) = last.key();
    let digits = id.bytes().flat_map(|byte| [byte >> 4, byte & 15]);
    let id: String = digits.filter_map(|digit| char::from_digit(digit.into(), 16)).collect();
    format!("{:0TIME$x}{id}", ms.cast_unsigned())
}

fn parse(token: &str) -> Option<(String, i64)> {
    let number = |digits: &str| {
        let is_hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        is_hex.then(|| u64::from_str_radix(digits, 16).ok()).flatten()
    };
    let (time, id) = token.split_at_checked(TIME)?;
    let id: Option<Vec<u8>> =
        (0..id.len()).step_by(2).map(|at| u8::try_from(number(id.get(at..at + 2)?)?).ok()).collect();
    let id = String::from_utf8(id?).ok()?;
    Some((id, number(time)?.cast_signed()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Clone, PartialEq, Eq)]
    struct Named(String, i64);

    impl Version for Named {
        fn id(&self) -> &str {
            &self.0
        }

        fn effective_from_ms(&self) -> i64 {
            self.1
        }
    }

    #[test]
    fn pages_hold_every_version_once_and_in_order() {
        let ids = ["", "\0", "a", "a\0", "ab", "é"];
        let all: Vec<Named> =
            ids.iter().flat_map(|id| [-1, 0, i64::MAX].map(|ms| Named((*id).to_owned(), ms))).collect();
        for size in [1, 2, 5, 17, 18, 19, 0, i32::MAX] {
            let (mut found, mut next) = (Vec::new(), String::new());
            loop {
                let (part, token) = page(size, &next).expect("our own token").of(all.clone());
                assert!(part.len() <= usize::try_from(size).expect("positive").max(DEFAULT));
                found.extend(part);
                next = token;
                if next.is_empty() {
                    break;
                }
            }
            assert_eq!(found, all, "{size}");
        }
        // Versions that came or went meanwhile disturb nothing.
        let (_, next) = page(1, "").expect("the first page").of(all.clone());
        let (rest, _) = page(0, &next).expect("our own token").of(all[3..].to_vec());
        assert_eq!(rest, all[3..]);
    }

    #[test]
    fn a_token_that_is_not_ours_is_refused() {
        for token in [
            "x",
            "000000000000000",
            "+000000000000000",
            "00000000000000000",
            "0000000000000000ff",
            "é",
            "0000000000000000+1",
        ] {
            let fault = page(1, token).expect_err(token);
            assert_eq!((fault.reason, fault.field.as_str()), (Reason::FieldInvalid, "page_token"), "{token}");
        }
        assert_eq!(page(-1, "").expect_err("negative").field, "page_size");
        assert_eq!(page(i32::MAX, ""), Ok(Page { size: MOST, after: None }));
    }
}
