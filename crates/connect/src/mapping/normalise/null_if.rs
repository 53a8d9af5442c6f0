//! `null_if(…)`: texts that mean "no value".

use std::borrow::Cow;

use flywheel_base::Result;

use super::{Normal, Normalise, NormaliserKind, text};
use crate::mapping::form::{Arguments, Parameter};

/// What people and programs write for nothing.
const USUAL: &[&str] = &[
    "n/a",
    "#n/a",
    "-",
    "--",
    "—",
    "null",
    "(null)",
    "\\n",
    "none",
    "nil",
    "nan",
    "undefined",
    "无",
    "空",
    "暂无",
    "未填写",
    "未知",
    "不详",
];

/// Makes certain texts no value.
#[derive(Debug)]
pub(crate) struct NullIf {
    texts: Vec<String>,
}

impl NormaliserKind for NullIf {
    const ABOUT: &'static str = "Makes blank texts, and n/a, -, null, none, 无, 空 and the like, no \
                                 value; with arguments only blank texts and those given. Case and \
                                 white space around do not matter.";
    const PARAMETERS: &'static [Parameter] =
        &[Parameter::texts("texts", "The texts that mean no value.")];

    fn build(arguments: &Arguments) -> Result<Self> {
        let given = arguments.texts("texts");
        let texts = if given.is_empty() { USUAL.to_vec() } else { given };
        Ok(Self { texts: texts.into_iter().map(key).collect() })
    }
}

impl Normalise for NullIf {
    fn normalise<'a>(&self, text: &'a str) -> Normal<'a> {
        let key = key(text);
        let none = key.is_empty() || self.texts.contains(&key);
        Ok((!none).then_some(Cow::Borrowed(text)))
    }
}

/// A text as it is compared.
fn key(text: &str) -> String {
    let plain = text::plain(text).to_lowercase();
    text::trimmed(&plain).to_owned()
}
