//! Lists as clients hand them in: `{1,2,NULL}`, and the binary form of an array.

use bytes::{Buf, Bytes};

use super::kind::Kind;
use super::value::Form;

/// The numbers of lists in `pg_type`, and those of their items.
const LISTS: [(u32, u32); 22] = [
    (199, 114),
    (1_000, 16),
    (1_001, 17),
    (1_002, 18),
    (1_003, 19),
    (1_005, 21),
    (1_007, 23),
    (1_009, 25),
    (1_014, 1_042),
    (1_015, 1_043),
    (1_016, 20),
    (1_021, 700),
    (1_022, 701),
    (1_028, 26),
    (1_115, 1_114),
    (1_182, 1_082),
    (1_183, 1_083),
    (1_185, 1_184),
    (1_187, 1_186),
    (1_231, 1_700),
    (2_951, 2_950),
    (3_807, 3_802),
];

/// The number of the type that the items of a list have; none if the type is no list.
pub(super) fn item_of(list: u32) -> Option<u32> {
    LISTS.iter().find(|(known, _)| *known == list).map(|(_, item)| *item)
}

/// The number of the lists of a type; none if there are none.
pub(super) fn list_of(item: u32) -> Option<u32> {
    LISTS.iter().find(|(_, known)| *known == item).map(|(list, _)| *list)
}

/// The items of a list, each in the form of the list; none if it is no list, or one of lists.
pub(super) fn items(form: Form, bytes: &[u8]) -> Option<Vec<Option<Bytes>>> {
    match form {
        Form::Text => {
            let items = texts(std::str::from_utf8(bytes).ok()?)?;
            Some(items.into_iter().map(|item| item.map(Bytes::from)).collect())
        }
        Form::Binary => binary(bytes),
    }
}

/// The items of a list that is written `{a,"b c",NULL}`; none if it is no list, or one of lists.
pub(super) fn texts(list: &str) -> Option<Vec<Option<String>>> {
    let inner = list.trim().strip_prefix('{')?.strip_suffix('}')?;
    if inner.trim().is_empty() {
        return Some(Vec::new());
    }
    let mut items = Vec::new();
    let mut signs = inner.chars();
    loop {
        let (item, more) = item(&mut signs)?;
        items.push(item);
        if !more {
            return Some(items);
        }
    }
}

/// The next item, and whether another one follows.
fn item(signs: &mut std::str::Chars<'_>) -> Option<(Option<String>, bool)> {
    let (mut text, mut within, mut quoted) = (String::new(), false, false);
    // How much of it stays when the spaces behind it are left out.
    let mut kept = 0;
    let more = loop {
        let Some(sign) = signs.next() else { break false };
        match sign {
            '\\' => {
                text.push(signs.next()?);
                kept = text.len();
            }
            '"' => {
                within = !within;
                quoted = true;
                kept = text.len();
            }
            ',' if !within => break true,
            '{' | '}' if !within => return None,
            sign if within => {
                text.push(sign);
                kept = text.len();
            }
            sign if sign.is_whitespace() && text.is_empty() => {}
            sign => {
                text.push(sign);
                if !sign.is_whitespace() {
                    kept = text.len();
                }
            }
        }
    };
    text.truncate(kept);
    match (within, quoted, text.is_empty()) {
        // A quote has no end, or there is nothing between two commas.
        (true, ..) | (false, false, true) => None,
        (false, false, false) if text.eq_ignore_ascii_case("null") => Some((None, more)),
        _ => Some((Some(text), more)),
    }
}

/// The items of an array: how many dimensions, whether there are NULLs, the type, the length and the first place of each
/// dimension, and the items with their lengths.
fn binary(bytes: &[u8]) -> Option<Vec<Option<Bytes>>> {
    let mut rest = bytes;
    let dimensions = rest.try_get_i32().ok()?;
    let (_nulls, _type) = (rest.try_get_i32().ok()?, rest.try_get_u32().ok()?);
    match dimensions {
        0 => return rest.is_empty().then(Vec::new),
        1 => {}
        _ => return None,
    }
    let count = usize::try_from(rest.try_get_i32().ok()?).ok()?;
    let _first = rest.try_get_i32().ok()?;
    // Each has a length of four bytes at least.
    if count > rest.len() / 4 {
        return None;
    }
    let mut items = Vec::with_capacity(count);
    for _ in 0..count {
        let length = rest.try_get_i32().ok()?;
        if length == -1 {
            items.push(None);
            continue;
        }
        let (item, after) = rest.split_at_checked(usize::try_from(length).ok()?)?;
        items.push(Some(Bytes::copy_from_slice(item)));
        rest = after;
    }
    rest.is_empty().then_some(items)
}

/// The types that have lists, without those that are lists.
pub(super) fn kinds() -> impl Iterator<Item = (Kind, u32)> {
    Kind::ALL.into_iter().filter_map(|kind| Some((kind, list_of(kind.oid())?)))
}

#[cfg(test)]
mod tests {
    use bytes::{BufMut, BytesMut};

    use super::*;

    #[test]
    fn a_list_that_is_written_is_read() {
        let some = |text: &str| Some(text.to_owned());
        for (list, expected) in [
            ("{}", Some(vec![])),
            (" { } ", Some(vec![])),
            ("{1,-2}", Some(vec![some("1"), some("-2")])),
            ("{ a b , null,\"NULL\",\"\"}", Some(vec![some("a b"), None, some("NULL"), some("")])),
            (
                r#"{"a,b","say \"x\" {y}","back\\slash"}"#,
                Some(vec![some("a,b"), some("say \"x\" {y}"), some("back\\slash")]),
            ),
            ("{两}", Some(vec![some("两")])),
            ("1,2", None),
            ("{1,,2}", None),
            ("{1,}", None),
            ("{\"a}", None),
            ("{{1},{2}}", None),
            ("", None),
        ] {
            assert_eq!(texts(list), expected, "{list}");
        }
    }

    #[test]
    fn an_array_in_binary_form_is_read_and_nothing_beyond_it() {
        let mut out = BytesMut::new();
        for number in [1, 1, 23, 2, 1, 4, 7, -1] {
            out.put_i32(number);
        }
        let seven = Bytes::copy_from_slice(&7_i32.to_be_bytes());
        assert_eq!(items(Form::Binary, &out), Some(vec![Some(seven), None]));
        for end in 0..out.len() {
            assert_eq!(items(Form::Binary, &out[..end]), None, "{end}");
        }
        out.put_u8(0);
        assert_eq!(items(Form::Binary, &out), None);
        assert_eq!(items(Form::Binary, &[0; 12]), Some(Vec::new()));
        // So many items cannot be in so few bytes.
        let many: Vec<u8> =
            [1, 0, 23, i32::MAX, 1].into_iter().flat_map(i32::to_be_bytes).collect();
        assert_eq!(items(Form::Binary, &many), None);
    }

    #[test]
    fn every_type_has_lists() {
        assert_eq!(kinds().count(), Kind::ALL.len());
        assert_eq!((item_of(1_007), list_of(23), item_of(23)), (Some(23), Some(1_007), None));
    }
}
