//! An element of a test case: its name, type, value and what is inside it, as written.

use std::fmt::Write as _;

use quick_xml::XmlVersion;
use quick_xml::events::{BytesStart, Event};
use quick_xml::reader::Reader;

/// An element.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Node {
    /// The field, in camel case.
    pub name: String,
    /// The item type; a Structure if it is left out.
    pub kind: Option<String>,
    /// The value, of anything but a Structure.
    pub value: Option<String>,
    /// What is inside.
    pub children: Vec<Self>,
}

impl Node {
    /// Reads the one element of a text.
    ///
    /// # Errors
    /// The text is no XML.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut reader = Reader::from_str(text);
        let mut open = vec![Self::default()];
        loop {
            let event = reader.read_event().map_err(|error| format!("byte {}: {error}", reader.error_position()))?;
            match event {
                Event::Start(start) => open.push(Self::of(&start)?),
                Event::Empty(start) => {
                    let node = Self::of(&start)?;
                    open.last_mut().ok_or("an end without a start")?.children.push(node);
                }
                Event::End(_) => {
                    let node = open.pop().ok_or("an end without a start")?;
                    open.last_mut().ok_or("an end without a start")?.children.push(node);
                }
                Event::Eof => break,
                _ => {}
            }
        }
        match open.pop().map(|root| root.children).as_deref() {
            Some([node]) if open.is_empty() => Ok(node.clone()),
            _ => Err("there should be one element".to_owned()),
        }
    }

    fn of(start: &BytesStart<'_>) -> Result<Self, String> {
        let mut node = Self { name: start.name().into_inner().to_owned(), ..Self::default() };
        for attribute in start.attributes() {
            let attribute = attribute.map_err(|error| error.to_string())?;
            let value = attribute.normalized_value(XmlVersion::Implicit1_0).map_err(|error| error.to_string())?.into_owned();
            match attribute.key.into_inner() {
                "type" => node.kind = Some(value),
                "value" => node.value = Some(value),
                // A tag that has no name.
                "tag" => node.name = value,
                _ => {}
            }
        }
        Ok(node)
    }

    /// The first child of that name.
    #[must_use]
    pub fn child(&self, name: &str) -> Option<&Self> {
        self.children.iter().find(|child| child.name == name)
    }

    /// The children of that name.
    pub fn all<'n>(&'n self, name: &'n str) -> impl Iterator<Item = &'n Self> {
        self.children.iter().filter(move |child| child.name == name)
    }

    /// The value of the first child of that name.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.child(name)?.value.as_deref()
    }

    /// Every element, this one first.
    pub fn walk(&self, visit: &mut impl FnMut(&Self)) {
        visit(self);
        for child in &self.children {
            child.walk(visit);
        }
    }

    /// The element as XML, each value as `replaced` says.
    pub fn write(&self, replaced: &impl Fn(&str) -> String, out: &mut String) {
        let _ = write!(out, "<{}", self.name);
        if let Some(kind) = &self.kind {
            let _ = write!(out, " type=\"{kind}\"");
        }
        if let Some(value) = &self.value {
            let value = replaced(value).replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;");
            let _ = write!(out, " value=\"{value}\"");
        }
        out.push('>');
        for child in &self.children {
            child.write(replaced, out);
        }
        let _ = write!(out, "</{}>", self.name);
    }
}
