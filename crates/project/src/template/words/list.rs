//! Lists and maps that a template can change, as Python's can be.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use minijinja::value::{Enumerator, Object, ObjectRepr, Rest, Value, ValueKind, from_args};
use minijinja::{Error, ErrorKind, State};

/// How many values one list or map may hold, and how many one value may consist of: a template writes
/// SQL, it does not store data.
const VALUES_MAX: usize = 10_000;

/// Lets a literal grow, with the lists inside of it.
pub(super) fn growing(value: Value) -> Result<Value, Error> {
    Ok(match value.kind() {
        ValueKind::Seq => {
            let items = value.try_iter()?.map(growing).collect::<Result<Vec<_>, _>>()?;
            Value::from_object(List(Mutex::new(items)))
        }
        ValueKind::Map => {
            let mut pairs = Vec::new();
            for key in value.try_iter()? {
                let item = value.get_item(&key)?;
                pairs.push((key, growing(item)?));
            }
            Value::from_object(Map(Mutex::new(pairs)))
        }
        _ => value,
    })
}

/// The value as it is now, so that a list can hold no list that later holds it.
fn still(value: &Value, left: &mut usize) -> Result<Value, Error> {
    *left = left.checked_sub(1).ok_or_else(too_large)?;
    Ok(match value.kind() {
        ValueKind::Seq => {
            let items = value.try_iter()?.map(|item| still(&item, left));
            Value::from(items.collect::<Result<Vec<_>, _>>()?)
        }
        ValueKind::Map => {
            let mut pairs = Vec::new();
            for key in value.try_iter()? {
                let item = value.get_item(&key)?;
                pairs.push((key, still(&item, left)?));
            }
            Value::from_pairs(pairs)
        }
        _ => value.clone(),
    })
}

fn taken(value: &Value) -> Result<Value, Error> {
    still(value, &mut VALUES_MAX.clone())
}

fn too_large() -> Error {
    let message = format!("a template's list or map holds more than {VALUES_MAX} values");
    Error::new(ErrorKind::InvalidOperation, message)
}

fn nothing() -> Value {
    Value::from(())
}

/// A list.
#[derive(Debug)]
struct List(Mutex<Vec<Value>>);

impl List {
    fn items(&self) -> MutexGuard<'_, Vec<Value>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, at: Option<usize>, value: &Value) -> Result<(), Error> {
        let value = taken(value)?;
        let mut items = self.items();
        if items.len() >= VALUES_MAX {
            return Err(too_large());
        }
        let at = at.unwrap_or(items.len()).min(items.len());
        items.insert(at, value);
        Ok(())
    }
}

impl Object for List {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Seq
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let items = self.items();
        let at = key.as_i64()?;
        let at = if at < 0 { at + i64::try_from(items.len()).ok()? } else { at };
        items.get(usize::try_from(at).ok()?).cloned()
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Seq(self.items().len())
    }

    fn call_method(
        self: &Arc<Self>,
        _: &mut State<'_, '_>,
        method: &str,
        args: &[Value],
    ) -> Result<Value, Error> {
        match method {
            "append" => {
                let (value,): (Value,) = from_args(args)?;
                self.put(None, &value)?;
            }
            "insert" => {
                let (at, value): (usize, Value) = from_args(args)?;
                self.put(Some(at), &value)?;
            }
            "extend" => {
                let (values,): (Value,) = from_args(args)?;
                for value in values.try_iter()? {
                    self.put(None, &value)?;
                }
            }
            "pop" => {
                let (at,): (Option<usize>,) = from_args(args)?;
                let mut items = self.items();
                let at = at.unwrap_or_else(|| items.len().saturating_sub(1));
                return match at < items.len() {
                    true => Ok(items.remove(at)),
                    false => Err(Error::new(ErrorKind::InvalidOperation, "pop from an empty list")),
                };
            }
            "remove" => {
                let (value,): (Value,) = from_args(args)?;
                let mut items = self.items();
                if let Some(at) = items.iter().position(|item| *item == value) {
                    items.remove(at);
                }
            }
            _ => return Err(Error::from(ErrorKind::UnknownMethod)),
        }
        Ok(nothing())
    }
}

/// A map in the order of its keys' arrival.
#[derive(Debug)]
struct Map(Mutex<Vec<(Value, Value)>>);

impl Map {
    fn pairs(&self) -> MutexGuard<'_, Vec<(Value, Value)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, key: &Value, value: &Value) -> Result<(), Error> {
        let value = taken(value)?;
        let mut pairs = self.pairs();
        if let Some((_, old)) = pairs.iter_mut().find(|(known, _)| known == key) {
            *old = value;
            return Ok(());
        }
        if pairs.len() >= VALUES_MAX {
            return Err(too_large());
        }
        pairs.push((key.clone(), value));
        Ok(())
    }
}

impl Object for Map {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.pairs().iter().find(|(known, _)| known == key).map(|(_, value)| value.clone())
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(self.pairs().iter().map(|(key, _)| key.clone()).collect())
    }

    fn call_method(
        self: &Arc<Self>,
        _: &mut State<'_, '_>,
        method: &str,
        args: &[Value],
    ) -> Result<Value, Error> {
        match method {
            "update" => {
                let (other,): (Value,) = from_args(args)?;
                for key in other.try_iter()? {
                    let value = other.get_item(&key)?;
                    self.put(&key, &value)?;
                }
                Ok(nothing())
            }
            "setdefault" => {
                let (key, value): (Value, Value) = from_args(args)?;
                if self.get_value(&key).is_none() {
                    self.put(&key, &value)?;
                }
                Ok(self.get_value(&key).unwrap_or_else(nothing))
            }
            "pop" => {
                let (key, default): (Value, Option<Value>) = from_args(args)?;
                let mut pairs = self.pairs();
                let at = pairs.iter().position(|(known, _)| *known == key);
                Ok(at.map(|at| pairs.remove(at).1).or(default).unwrap_or_else(nothing))
            }
            _ => Err(Error::from(ErrorKind::UnknownMethod)),
        }
    }
}

/// Python's `zip`.
#[expect(clippy::needless_pass_by_value, reason = "the engine gives arguments by value")]
pub(super) fn zip(lists: Rest<Value>) -> Result<Value, Error> {
    let lists: Vec<Vec<Value>> =
        lists.iter().map(|list| Ok(list.try_iter()?.collect())).collect::<Result<_, Error>>()?;
    let length = lists.iter().map(Vec::len).min().unwrap_or(0);
    let row = |at: usize| lists.iter().filter_map(|list| list.get(at).cloned()).collect::<Value>();
    Ok((0..length).map(row).collect())
}

/// The list without doubles, in its order.
#[expect(clippy::needless_pass_by_value, reason = "the engine gives arguments by value")]
pub(super) fn set(list: Value) -> Result<Value, Error> {
    let mut kept: Vec<Value> = Vec::new();
    for value in list.try_iter()?.take(VALUES_MAX) {
        if !kept.contains(&value) {
            kept.push(value);
        }
    }
    Ok(Value::from(kept))
}
