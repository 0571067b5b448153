//! Reads the file, lays the environment over it, and finds every key that is misspelt or has a value of the wrong shape.

use std::ffi::OsString;
use std::path::Path;

use config::{FileFormat, Map, Value, ValueKind};

use super::error::{ConfigError, Place, Shown};
use super::file::File;
use super::key::{self, Shape};

/// A file with its overrides, and where each value came from.
pub(super) struct Layers<'a> {
    file: &'a Path,
    /// Overridden keys as written, with their variables; sorted, so that a list comes before its elements.
    overrides: Vec<(String, String)>,
}

/// One override, for the library that merges them.
#[derive(Debug, Clone)]
struct Override {
    key: String,
    value: Value,
}

impl config::Source for Override {
    fn clone_into_box(&self) -> Box<dyn config::Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, config::ConfigError> {
        Ok(Map::from_iter([(self.key.clone(), self.value.clone())]))
    }
}

impl<'a> Layers<'a> {
    /// The file's text under the variables of `environment` that are ours.
    pub(super) fn read(
        file: &'a Path,
        text: &str,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<(Self, File), ConfigError> {
        let mut layers = Self { file, overrides: Vec::new() };
        let syntax = |error: &config::ConfigError| ConfigError::Syntax { place: Place::File(file.to_owned()), what: error.to_string() };
        let yaml =
            config::Config::builder().add_source(config::File::from_str(text, FileFormat::Yaml)).build().map_err(|error| syntax(&error))?;
        let mut builder = config::Config::builder().add_source(yaml);
        for (variable, text) in ours(environment)? {
            let layer = override_of(&variable, &text)?;
            layers.overrides.push((layer.key.clone(), variable));
            builder = builder.add_source(layer);
        }
        let merged = builder.build().map_err(|error| syntax(&error))?;
        layers.check(&merged.cache, "", "")?;
        let file = merged.try_deserialize().map_err(|error| syntax(&error))?;
        Ok((layers, file))
    }

    /// Where the value of a key, as written, came from.
    pub(super) fn place(&self, written: &str) -> Place {
        let covers = |key: &str| written.strip_prefix(key).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']));
        match self.overrides.iter().rev().find(|(key, _)| covers(key)) {
            Some((_, variable)) => Place::Variable(variable.clone()),
            None => Place::File(self.file.to_owned()),
        }
    }

    /// Compares a value and all below it with the table. `written` is its key, `path` the same in the table's spelling.
    fn check(&self, value: &Value, written: &str, path: &str) -> Result<(), ConfigError> {
        match (key::shape(path), &value.kind) {
            (Shape::Map, ValueKind::Table(map)) => {
                // Sorted, so that of several faults the same one is always told.
                let mut entries: Vec<_> = map.iter().collect();
                entries.sort_by_key(|(name, _)| *name);
                entries.into_iter().try_for_each(|(name, value)| {
                    let written = if written.is_empty() { name.clone() } else { format!("{written}.{name}") };
                    let below = key::join(path, name);
                    if key::shape(&below) == Shape::Unknown {
                        Err(self.unknown(&written, name, path))
                    } else {
                        self.check(value, &written, &below)
                    }
                })
            }
            (Shape::List | Shape::ValueOrList, ValueKind::Array(list)) => list
                .iter()
                .enumerate()
                .try_for_each(|(index, value)| self.check(value, &format!("{written}[{index}]"), &format!("{path}[]"))),
            // A key without a value, as when all below it is commented out, is as good as no key. An element of a list has to be there.
            (Shape::Map | Shape::List | Shape::Value | Shape::ValueOrList, ValueKind::Nil) if !path.ends_with("[]") => Ok(()),
            (Shape::Value, ValueKind::String(text)) if is_readable(path, text) => Ok(()),
            (Shape::ValueOrList, ValueKind::String(_)) => Ok(()),
            (Shape::Value, ValueKind::Boolean(_)) if key::is_truth(path) => Ok(()),
            (Shape::Value, ValueKind::I64(number)) if key::is_number(path) && u32::try_from(*number).is_ok() => Ok(()),
            (_, kind) => Err(self.invalid(written, Shown::described(written, in_words(kind)), None)),
        }
    }

    fn unknown(&self, written: &str, name: &str, path: &str) -> ConfigError {
        let accepted: Vec<_> = key::names(path).into_iter().map(str::to_owned).collect();
        ConfigError::UnknownKey { place: self.place(written), key: written.to_owned(), near: key::near(name, &accepted), accepted }
    }

    /// The error for a refused value; `form` is what to write instead, where the table's word on it is too general.
    pub(super) fn invalid(&self, written: &str, value: Shown, form: Option<&'static str>) -> ConfigError {
        let form = form.unwrap_or_else(|| key::form(&key::spelling(written)));
        ConfigError::Invalid { place: self.place(written), key: written.to_owned(), value, form }
    }

    /// The error for a required key that is not there.
    pub(super) fn missing(&self, written: &str) -> ConfigError {
        let form = key::form(&key::spelling(written));
        ConfigError::Missing { place: self.place(written), key: written.to_owned(), form }
    }
}

/// Our variables in order of their names; one that is not text is an error.
fn ours(environment: impl IntoIterator<Item = (OsString, OsString)>) -> Result<Vec<(String, String)>, ConfigError> {
    let mut variables = Vec::new();
    for (name, value) in environment {
        let Some(name) = name.to_str().filter(|name| key::is_ours(name)).map(str::to_owned) else { continue };
        let what = "its value is not UTF-8".to_owned();
        let value = value.into_string().map_err(|_| ConfigError::Syntax { place: Place::Variable(name.clone()), what })?;
        variables.push((name, value));
    }
    variables.sort();
    Ok(variables)
}

fn override_of(variable: &str, text: &str) -> Result<Override, ConfigError> {
    let place = || Place::Variable(variable.to_owned());
    let key = key::of_variable(variable).map_err(|accepted| ConfigError::UnknownKey {
        place: place(),
        key: variable.to_owned(),
        near: key::near(variable, &accepted),
        accepted,
    })?;
    let value = match key::shape(&key::spelling(&key)) {
        Shape::Value => Value::new(None, text),
        Shape::ValueOrList if !text.trim_start().starts_with('[') => Value::new(None, text),
        Shape::Map | Shape::List | Shape::ValueOrList | Shape::Unknown => flow(text).map_err(|what| ConfigError::Syntax {
            place: place(),
            what: format!("a list or map here is YAML on one line, such as [{{name: value}}]; {what}"),
        })?,
    };
    Ok(Override { key, value })
}

/// A list or map on one line, as YAML's flow style or JSON.
fn flow(text: &str) -> Result<Value, String> {
    let yaml = config::File::from_str(&format!("value: {text}"), FileFormat::Yaml);
    let parsed = config::Config::builder().add_source(yaml).build().map_err(|error| error.to_string())?;
    parsed.get("value").map_err(|error| error.to_string())
}

/// Can a text, such as a variable has, be what stands at `path`?
fn is_readable(path: &str, text: &str) -> bool {
    match text {
        "true" | "false" => !key::is_number(path),
        _ if key::is_number(path) => text.parse::<u32>().is_ok(),
        _ => !key::is_truth(path),
    }
}

fn in_words(kind: &ValueKind) -> String {
    match kind {
        ValueKind::Nil => "empty".to_owned(),
        ValueKind::Table(_) => "a map".to_owned(),
        ValueKind::Array(_) => "a list".to_owned(),
        ValueKind::String(text) => format!("{text:?}"),
        ValueKind::Boolean(truth) => format!("the truth value {truth}"),
        number => format!("the number {number}"),
    }
}
