//! Filters over dimensions: `=`, `!=`, `:*`, `IN`, order among numbers, AND, OR (binds tighter), NOT and brackets.

use super::Dimensions;

/// Whether a filter holds for these dimensions; an empty one always does.
pub(crate) fn matches(filter: &str, dimensions: &Dimensions) -> bool {
    let words = words(filter);
    if words.is_empty() {
        return true;
    }
    let mut reader = Reader { words: &words, dimensions };
    let holds = reader.all();
    assert!(reader.words.is_empty(), "{filter}: left over: {:?}", reader.words);
    holds
}

/// Names, `"values"` (with the opening quote kept, to tell them from names) and signs.
fn words(filter: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut characters = filter.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            ' ' => {}
            '"' => words.push(std::iter::once('"').chain(characters.by_ref().take_while(|c| *c != '"')).collect()),
            '!' | '<' | '>' => {
                let equals = characters.next_if_eq(&'=');
                words.push([character].into_iter().chain(equals).collect());
            }
            '=' | ':' | '*' | '(' | ')' | ',' => words.push(character.to_string()),
            _ => {
                let mut word = character.to_string();
                while let Some(next) = characters.next_if(|c| c.is_alphanumeric() || *c == '_' || *c == '.') {
                    word.push(next);
                }
                words.push(word);
            }
        }
    }
    words
}

struct Reader<'a> {
    words: &'a [String],
    dimensions: &'a Dimensions,
}

impl Reader<'_> {
    fn take(&mut self) -> &str {
        let (first, rest) = self.words.split_first().expect("a filter goes on");
        self.words = rest;
        first
    }

    fn take_if(&mut self, word: &str) -> bool {
        let is_next = self.words.first().is_some_and(|next| next == word);
        if is_next {
            self.take();
        }
        is_next
    }

    fn all(&mut self) -> bool {
        let mut holds = self.any();
        while self.take_if("AND") {
            holds &= self.any();
        }
        holds
    }

    fn any(&mut self) -> bool {
        let mut holds = self.one();
        while self.take_if("OR") {
            holds |= self.one();
        }
        holds
    }

    fn one(&mut self) -> bool {
        if self.take_if("NOT") {
            return !self.one();
        }
        if self.take_if("(") {
            let holds = self.all();
            assert!(self.take_if(")"), "a bracket closes");
            return holds;
        }
        let name = self.take().to_owned();
        let values: Vec<&str> = if name == "tag" {
            self.dimensions.tags.iter().map(String::as_str).collect()
        } else {
            self.dimensions.get(&name).into_iter().collect()
        };
        let sign = self.take().to_owned();
        match sign.as_str() {
            ":" => {
                assert_eq!(self.take(), "*", "only :*");
                !values.is_empty()
            }
            "=" => values.contains(&self.take().trim_start_matches('"')),
            "!=" => !values.contains(&self.take().trim_start_matches('"')),
            "<" | "<=" | ">" | ">=" => {
                let bound: f64 = self.take().parse().expect("a number");
                let holds = |value: f64| match sign.as_str() {
                    "<" => value < bound,
                    "<=" => value <= bound,
                    ">" => value > bound,
                    _ => value >= bound,
                };
                values.iter().filter_map(|value| value.parse().ok()).any(holds)
            }
            "IN" => {
                assert!(self.take_if("("), "a list");
                let mut holds = false;
                while !self.take_if(")") {
                    holds |= values.contains(&self.take().trim_start_matches('"'));
                    self.take_if(",");
                }
                holds
            }
            other => panic!("{other} is no sign of a filter"),
        }
    }
}
