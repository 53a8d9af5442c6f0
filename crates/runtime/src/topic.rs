//! What events of a topic have to look like before they are taken.

use flywheel_base::Result;
use flywheel_connect::ColumnType;
use flywheel_project::Project;
use flywheel_project::resource::topic::OnBad;
use serde_json::Value;

/// The field with the moment of an event where no file says otherwise.
const TIMESTAMP: &str = "timestamp";

/// Why an event is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misfit {
    /// The field that does not fit, if it is one.
    pub field: Option<String>,
    /// The kind of mistake, kebab-case.
    pub code: &'static str,
    /// What is wrong, without the value.
    pub reason: String,
}

impl Misfit {
    /// One that no single field is to blame for.
    pub fn whole(code: &'static str, reason: impl Into<String>) -> Self {
        Self { field: None, code, reason: reason.into() }
    }
}

/// A field of events.
#[derive(Clone, Debug)]
struct Field {
    name: String,
    kind: ColumnType,
    required: bool,
    /// Whether no file declares it.
    implied: bool,
}

/// What events of a topic look like.
#[derive(Clone, Debug)]
pub struct Form {
    fields: Vec<Field>,
    /// What happens to those that do not fit.
    pub on_bad: OnBad,
}

impl Form {
    /// The form of a topic: what its file declares, and without one that a `timestamp`, if there is one, can be read.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] for a type that is none, which a checked project does not have.
    pub fn of(project: &Project, topic: &str) -> Result<Self> {
        let declared = project.topics.get(topic);
        let mut fields = Vec::new();
        for column in declared.iter().flat_map(|topic| &topic.columns) {
            fields.push(Field {
                name: column.name.clone(),
                kind: column.column_type.parse()?,
                required: column.required,
                implied: false,
            });
        }
        let named = declared.and_then(|topic| topic.timestamp.as_deref());
        let moment = named.unwrap_or(TIMESTAMP);
        match fields.iter_mut().find(|field| field.name == moment) {
            Some(field) => field.required |= named.is_some(),
            None => fields.push(Field {
                name: moment.to_owned(),
                kind: ColumnType::Timestamp,
                required: named.is_some(),
                implied: named.is_none(),
            }),
        }
        Ok(Self { fields, on_bad: declared.map(|topic| topic.on_bad).unwrap_or_default() })
    }

    /// Whether an event fits.
    ///
    /// # Errors
    /// The first field that does not, and why.
    pub fn check(&self, event: &Value) -> std::result::Result<(), Misfit> {
        if !event.is_object() {
            return Err(Misfit::whole("invalid", "an event is a JSON object"));
        }
        for field in &self.fields {
            let wrong = |code, reason: String| Misfit {
                field: Some(field.name.clone()),
                code,
                reason: format!("the field \"{}\" {reason}", field.name),
            };
            let value = found(event, &field.name).filter(|value| !value.is_null());
            let Some(value) = value else {
                match field.required {
                    true => return Err(wrong("missing-value", "is missing".to_owned())),
                    false => continue,
                }
            };
            // Programs count seconds or milliseconds each their own way; nobody said which.
            if field.implied && value.is_number() {
                continue;
            }
            if let Some((code, reason)) = field.kind.misfit(value) {
                return Err(wrong(code, format!("does not fit: {reason}")));
            }
        }
        Ok(())
    }
}

/// A field by its name, else by its path.
fn found<'a>(event: &'a Value, name: &str) -> Option<&'a Value> {
    event.get(name).or_else(|| name.split('.').try_fold(event, |value, part| value.get(part)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn form(file: Option<&str>) -> Form {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("flywheel.yaml"), "name: shop\n").unwrap();
        if let Some(file) = file {
            std::fs::create_dir(dir.path().join("topics")).unwrap();
            std::fs::write(dir.path().join("topics/orders.yaml"), file).unwrap();
        }
        let project = Project::load(dir.path(), &flywheel_project::Connectors::default()).unwrap();
        Form::of(&project, "orders").unwrap()
    }

    fn field_of(form: &Form, event: &Value) -> Option<(String, &'static str)> {
        let misfit = form.check(event).err()?;
        Some((misfit.field.unwrap_or_default(), misfit.code))
    }

    #[test]
    fn without_a_file_every_object_is_an_event_unless_its_moment_cannot_be_read() {
        let form = form(None);
        for event in [
            json!({}),
            json!({"timestamp": null}),
            json!({"timestamp": "2024-05-01T12:30:00+08:00"}),
            json!({"timestamp": 1_714_566_600}),
            json!({"n": [1], "at": "yesterday"}),
        ] {
            assert_eq!(form.check(&event), Ok(()), "{event}");
        }
        for event in [json!({"timestamp": "yesterday"}), json!({"timestamp": {}})] {
            let wrong = Some(("timestamp".to_owned(), "type-mismatch"));
            assert_eq!(field_of(&form, &event), wrong, "{event}");
        }
        assert_eq!(field_of(&form, &json!(3)), Some((String::new(), "invalid")));
    }

    #[test]
    fn declared_fields_are_there_and_fit_and_others_are_left_alone() {
        let form = form(Some(
            "topic: orders\ncolumns:\n  - {name: id, type: text, required: true}\n  - {name: customer.id, type: int64}\n\
             timestamp: made_at\non_bad: quarantine\n",
        ));
        assert_eq!(form.on_bad, OnBad::Quarantine);
        let good =
            json!({"id": "a", "customer": {"id": 7}, "made_at": "2024-05-01", "timestamp": "?"});
        assert_eq!(form.check(&good), Ok(()));
        assert_eq!(
            form.check(&json!({"id": "a", "customer.id": 7, "made_at": "2024-05-01"})),
            Ok(())
        );
        for (event, field, code) in [
            (json!({"made_at": "2024-05-01"}), "id", "missing-value"),
            (json!({"id": null, "made_at": "2024-05-01"}), "id", "missing-value"),
            (json!({"id": "a"}), "made_at", "missing-value"),
            (json!({"id": "a", "made_at": 17}), "made_at", "type-mismatch"),
            (
                json!({"id": "a", "made_at": "2024-05-01", "customer": {"id": "x"}}),
                "customer.id",
                "type-mismatch",
            ),
        ] {
            assert_eq!(field_of(&form, &event), Some((field.to_owned(), code)), "{event}");
        }
    }
}
