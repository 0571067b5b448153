//! Whether an answer is the one that a case expects, by the standard's rules for what may vary.
//!
//! Bound at first sight and equal afterwards: `$UNIQUE_IDENTIFIER_0` and the like. By type and not by value: what a server makes. Of any order:
//! attributes. Free: Result Message, the lists of Query, Lease Time and Random Number Generator, Attribute Index 0, and what beside the expected
//! comes when everything was asked for.

use std::collections::BTreeMap;

use super::Node;

/// How far a server's clock, and the time that a case takes, may be from the beginning of the case, in seconds.
const CLOCK_SECONDS_MAX: i64 = 600;

/// What the variables of a case stand for.
#[derive(Clone, Debug, Default)]
pub struct Bindings {
    values: BTreeMap<String, String>,
    /// The beginning of the case, in seconds since 1970.
    now: i64,
    /// Whether keys in the case are made by the server, so that nobody can know them before.
    made_here: bool,
    /// Whether the case brings a public key: what is encrypted under one is different each time.
    brings_public_key: bool,
    /// The last value of each field of an answer: some cases name what they never bound.
    last: BTreeMap<String, String>,
}

/// Where an answer is not the expected one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The fields on the way, from the message down.
    pub path: String,
    /// What the case says.
    pub expected: String,
    /// What the server said.
    pub got: String,
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: expected {}, got {}", self.path, self.expected, self.got)
    }
}

impl Bindings {
    /// Nothing is bound yet.
    #[must_use]
    pub fn new(now: i64, made_here: bool) -> Self {
        Self { now, made_here, ..Self::default() }
    }

    /// The same, of a case that brings a public key.
    #[must_use]
    pub fn with_public_key(self, brings_public_key: bool) -> Self {
        Self { brings_public_key, ..self }
    }

    /// A value of a request, its variable replaced; one that is bound to nothing is the last value of the field that it is called after.
    #[must_use]
    pub fn replaced(&self, value: &str) -> String {
        if let Some(seconds) = self.time(value) {
            return format!("0x{seconds:016x}");
        }
        let bound = self.values.get(value).or_else(|| {
            let field = value.strip_prefix('$')?.trim_end_matches(|c: char| c.is_ascii_digit()).replace('_', "");
            self.last.get(&field)
        });
        bound.cloned().unwrap_or_else(|| value.to_owned())
    }

    /// Takes notice of an answer.
    pub fn note(&mut self, answer: &Node) {
        answer.walk(&mut |field| {
            if let Some(value) = &field.value {
                self.last.insert(field.name.to_uppercase(), value.clone());
            }
        });
    }

    /// The time that `$NOW`, `$NOW-3600` and the like are.
    fn time(&self, value: &str) -> Option<i64> {
        let offset = value.strip_prefix("$NOW")?;
        if offset.is_empty() { Some(self.now) } else { offset.parse::<i64>().ok().map(|offset| self.now + offset) }
    }

    fn agree(&mut self, expected: &str, actual: &Node) -> bool {
        let value = actual.value.as_deref().unwrap_or_default();
        if let Some(time) = self.time(expected) {
            return seconds(value).is_some_and(|seconds| (seconds - time).abs() <= CLOCK_SECONDS_MAX);
        }
        if expected.starts_with('$') {
            return self.values.entry(expected.to_owned()).or_insert_with(|| value.to_owned()) == value;
        }
        match actual.kind.as_deref() {
            Some("ByteString") => expected.eq_ignore_ascii_case(value),
            Some("Integer") => words(expected) == words(value),
            Some("DateTime") => seconds(expected) == seconds(value),
            _ => expected == value,
        }
    }
}

fn seconds(text: &str) -> Option<i64> {
    let mut ttlv = String::new();
    let date = |value: &str| Node { name: "TimeStamp".into(), kind: Some("DateTime".into()), value: Some(value.into()), children: vec![] };
    Node { name: "ResponseHeader".into(), children: vec![date(text)], ..Node::default() }.write(&str::to_owned, &mut ttlv);
    let bytes = kmip::xml::read(ttlv.as_bytes(), kmip::MESSAGE_BYTES_MAX).ok()?;
    let header = kmip::ttlv::Item::only(&bytes).ok()?;
    header.fields().ok()?.next_item().ok()??.date_time().ok().map(|time| time.0)
}

/// The parts of a mask, in order.
fn words(text: &str) -> Vec<&str> {
    let mut words: Vec<&str> = text.split_whitespace().collect();
    words.sort_unstable();
    words
}

/// What may vary in one answer, by what was asked.
#[derive(Clone, Copy, Debug, Default)]
struct Leeway {
    /// All attributes were asked for, or their names.
    everything: bool,
    /// The answer is to Query.
    lists: bool,
    /// The data of the answer depend on what the server draws: random bytes, its own IV, a key of its own making.
    drawn: bool,
}

/// Compares an answer with what is expected for this request.
///
/// # Errors
/// The first difference.
pub fn compare(request: &Node, expected: &Node, actual: &Node, bindings: &mut Bindings) -> Result<(), Difference> {
    let items: Vec<Leeway> = request.all("BatchItem").map(|item| Leeway::of(item, bindings)).collect();
    same_shape(expected, actual, "")?;
    let path = actual.name.clone();
    let header = |message: &Node| message.child("ResponseHeader").cloned().unwrap_or_default();
    same(&header(expected), &header(actual), &path, Leeway::default(), bindings)?;
    let (wanted, got): (Vec<_>, Vec<_>) = (expected.all("BatchItem").collect(), actual.all("BatchItem").collect());
    for (index, (wanted, got)) in wanted.iter().zip(&got).enumerate() {
        let mut leeway = items.get(index).copied().unwrap_or_default();
        let payload = wanted.child("ResponsePayload");
        leeway.drawn |= payload.is_some_and(|payload| payload.child("Data").is_some() && payload.child("IVCounterNonce").is_some());
        same(wanted, got, &format!("{path}[{index}]"), leeway, bindings)?;
    }
    match wanted.len() == got.len() {
        true => Ok(()),
        false => Err(Difference { path, expected: format!("{} batch items", wanted.len()), got: format!("{}", got.len()) }),
    }
}

impl Leeway {
    fn of(item: &Node, bindings: &Bindings) -> Self {
        let payload = item.child("RequestPayload").cloned().unwrap_or_default();
        match item.text("Operation") {
            Some("GetAttributes") => Self { everything: payload.child("AttributeName").is_none(), ..Self::default() },
            Some("GetAttributeList") => Self { everything: true, ..Self::default() },
            Some("Query") => Self { lists: true, ..Self::default() },
            Some("RNGRetrieve") => Self { drawn: true, ..Self::default() },
            Some("Encrypt") => Self { drawn: bindings.made_here || bindings.brings_public_key, ..Self::default() },
            Some("Decrypt") => Self { drawn: bindings.made_here, ..Self::default() },
            _ => Self::default(),
        }
    }
}

fn same_shape(expected: &Node, actual: &Node, path: &str) -> Result<(), Difference> {
    let kind = |node: &Node| format!("{} ({})", node.name, node.kind.as_deref().unwrap_or("Structure"));
    match kind(expected) == kind(actual) {
        true => Ok(()),
        false => Err(Difference { path: path.to_owned(), expected: kind(expected), got: kind(actual) }),
    }
}

fn same(expected: &Node, actual: &Node, path: &str, leeway: Leeway, bindings: &mut Bindings) -> Result<(), Difference> {
    let path = format!("{path}/{}", expected.name);
    same_shape(expected, actual, &path)?;
    if leeway.lists && expected.name == "ResponsePayload" {
        return Ok(());
    }
    if let Some(value) = &expected.value {
        let is_drawn = match &*expected.name {
            "KeyMaterial" | "DigestValue" => bindings.made_here,
            "Data" | "IVCounterNonce" => leeway.drawn,
            _ => false,
        };
        // What nobody can know before has its length all the same.
        let has_length = actual.value.as_ref().is_some_and(|actual| actual.len() == value.len());
        return match is_drawn && !value.starts_with('$') && has_length || bindings.agree(value, actual) {
            true => Ok(()),
            false => Err(Difference { path, expected: value.clone(), got: actual.value.clone().unwrap_or_default() }),
        };
    }
    if varies_by_name(expected) {
        return Ok(());
    }
    let (wanted, got) = (fixed(expected), fixed(actual));
    for (place, wanted) in wanted.iter().enumerate() {
        let got = got.get(place).ok_or_else(|| missing(&path, wanted))?;
        same(wanted, got, &path, leeway, bindings)?;
    }
    if let Some(more) = got.get(wanted.len()) {
        return Err(Difference { path, expected: "nothing more".into(), got: more.name.clone() });
    }
    let mut left: Vec<&Node> = actual.children.iter().filter(|child| is_free(child)).collect();
    for wanted in expected.children.iter().filter(|child| is_free(child)) {
        take(wanted, &mut left, &path, leeway, bindings)?;
    }
    match left.first() {
        Some(more) if !leeway.everything => Err(Difference { path, expected: "no other attribute".into(), got: named(more) }),
        _ => Ok(()),
    }
}

/// Takes the attribute that is wanted out of what is left.
fn take(wanted: &Node, left: &mut Vec<&Node>, path: &str, leeway: Leeway, bindings: &mut Bindings) -> Result<(), Difference> {
    let mut closest = missing(path, wanted);
    for place in 0..left.len() {
        if named(left[place]) != named(wanted) {
            continue;
        }
        let mut tried = bindings.clone();
        match same(wanted, left[place], &format!("{path}<{}>", named(wanted)), leeway, &mut tried) {
            Ok(()) => {
                left.remove(place);
                *bindings = tried;
                return Ok(());
            }
            Err(difference) => closest = difference,
        }
    }
    Err(closest)
}

/// Attributes, and the names of attributes, of which the order is free.
fn is_free(node: &Node) -> bool {
    node.name == "Attribute" || node.name == "AttributeName"
}

/// What an attribute is called; a field AttributeName inside an attribute is told by its own value.
fn named(node: &Node) -> String {
    let name = if node.name == "Attribute" { node.text("AttributeName") } else { node.value.as_deref() };
    name.unwrap_or(&node.name).to_owned()
}

/// The children whose order counts, without those that may be there or not.
fn fixed(node: &Node) -> Vec<&Node> {
    let is_index_zero = |child: &Node| child.name == "AttributeIndex" && child.value.as_deref() == Some("0");
    node.children.iter().filter(|child| !is_free(child) && !is_index_zero(child) && child.name != "ResultMessage").collect()
}

fn varies_by_name(node: &Node) -> bool {
    node.name == "Attribute" && matches!(node.text("AttributeName"), Some("Lease Time" | "Random Number Generator"))
}

fn missing(path: &str, wanted: &Node) -> Difference {
    Difference { path: path.to_owned(), expected: named(wanted), got: "nothing".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: &str = "<RequestMessage><BatchItem><Operation type='Enumeration' value='GetAttributes'/><RequestPayload>\
        <AttributeName type='TextString' value='State'/></RequestPayload></BatchItem></RequestMessage>";

    fn attribute(name: &str, kind: &str, value: &str) -> String {
        format!("<Attribute><AttributeName type='TextString' value='{name}'/><AttributeValue type='{kind}' value='{value}'/></Attribute>")
    }

    fn answer(payload: &str) -> String {
        format!(
            "<ResponseMessage><ResponseHeader><TimeStamp type='DateTime' value='$NOW'/></ResponseHeader><BatchItem>\
             <ResultStatus type='Enumeration' value='Success'/><ResponsePayload>{payload}</ResponsePayload></BatchItem></ResponseMessage>"
        )
    }

    fn compared(request: &str, expected: &str, actual: &str) -> Result<(), String> {
        let node = |text: &str| Node::parse(text).expect("XML");
        let actual = answer(actual).replace("$NOW", "2001-01-01T00:00:00+00:00");
        let mut bindings = Bindings::new(978_307_200, false);
        compare(&node(request), &node(&answer(expected)), &node(&actual), &mut bindings).map_err(|difference| difference.to_string())
    }

    fn check_differs(expected: &str, actual: &str, difference: &str) {
        let found = compared(REQUEST, expected, actual).expect_err(actual);
        assert!(found.contains(difference), "{found}");
    }

    #[test]
    fn attributes_may_stand_in_any_order_but_not_be_fewer_more_or_others() {
        let (state, mask) = (attribute("State", "Enumeration", "Active"), attribute("Mask", "Integer", "Encrypt Decrypt"));
        let turned = format!("{}{state}", mask.replace("Encrypt Decrypt", "Decrypt Encrypt"));
        assert_eq!(compared(REQUEST, &format!("{state}{mask}"), &turned), Ok(()));
        check_differs(&state, &turned, "no other attribute, got Mask");
        check_differs(&turned, &state, "expected Mask, got nothing");
        check_differs(&state, &state.replace("Active", "Destroyed"), "<State>/Attribute/AttributeValue: expected Active, got Destroyed");
        check_differs(&state, &state.replace("Enumeration", "Integer"), "expected AttributeValue (Enumeration)");
        let everything = REQUEST.replace("<AttributeName type='TextString' value='State'/>", "");
        assert_eq!(compared(&everything, &state, &turned), Ok(()));
        assert!(compared(&everything, &turned, &state).is_err());
    }

    #[test]
    fn a_variable_is_bound_at_first_sight_and_the_same_afterwards() {
        let two = |one: &str, other: &str| {
            format!("<UniqueIdentifier type='TextString' value='{one}'/><LinkedObjectIdentifier type='TextString' value='{other}'/>")
        };
        assert_eq!(compared(REQUEST, &two("$UNIQUE_IDENTIFIER_0", "$UNIQUE_IDENTIFIER_0"), &two("a", "a")), Ok(()));
        assert_eq!(compared(REQUEST, &two("$UNIQUE_IDENTIFIER_0", "$UNIQUE_IDENTIFIER_1"), &two("a", "b")), Ok(()));
        check_differs(&two("$UNIQUE_IDENTIFIER_0", "$UNIQUE_IDENTIFIER_0"), &two("a", "b"), "got b");
    }

    #[test]
    fn a_time_is_near_the_one_that_is_meant() {
        let date = |value: &str| format!("<ActivationDate type='DateTime' value='{value}'/>");
        assert_eq!(compared(REQUEST, &date("$NOW-3600"), &date("2000-12-31T23:00:00+00:00")), Ok(()));
        assert_eq!(compared(REQUEST, &date("1970-01-01T00:00:06+00:00"), &date("1970-01-01T00:00:06Z")), Ok(()));
        check_differs(&date("$NOW"), &date("2000-12-31T23:00:00+00:00"), "expected $NOW");
        assert_eq!(Bindings::new(16, false).replaced("$NOW-6"), "0x000000000000000a");
    }

    #[test]
    fn what_was_never_bound_is_the_last_value_of_its_field() {
        let mut bindings = Bindings::new(0, false);
        assert_eq!(bindings.replaced("$IV_COUNTER_NONCE"), "$IV_COUNTER_NONCE");
        bindings.note(&Node::parse("<A><IVCounterNonce value='01'/><Data value='02'/></A>").expect("XML"));
        bindings.note(&Node::parse("<A><Data value='03'/></A>").expect("XML"));
        assert_eq!((bindings.replaced("$IV_COUNTER_NONCE"), bindings.replaced("$DATA_0")), ("01".into(), "03".into()));
    }

    #[test]
    fn what_a_server_makes_is_compared_by_type() {
        let key = "<KeyMaterial type='ByteString' value='2a'/>";
        let node = |text: &str| Node::parse(text).expect("XML");
        for (made_here, is_same) in [(true, true), (false, false)] {
            let mut bindings = Bindings::new(0, made_here);
            let found = same(&node(key), &node(&key.replace("2a", "2b")), "", Leeway::default(), &mut bindings);
            assert_eq!(found.is_ok(), is_same);
            assert!(same(&node(key), &node(&key.replace("2a", "2b2b")), "", Leeway::default(), &mut bindings).is_err());
        }
        assert!(
            same(&node(key), &node(&key.replace("ByteString", "BigInteger")), "", Leeway::default(), &mut Bindings::new(0, true)).is_err()
        );
    }

    #[test]
    fn status_and_reason_are_exact_and_the_message_is_not() {
        let failed = |reason: &str, message: &str| {
            format!("<ResultReason type='Enumeration' value='{reason}'/><ResultMessage type='TextString' value='{message}'/>")
        };
        assert_eq!(compared(REQUEST, &failed("ItemNotFound", "NOT_FOUND"), &failed("ItemNotFound", "no such object")), Ok(()));
        check_differs(&failed("ItemNotFound", ""), &failed("InvalidField", ""), "expected ItemNotFound, got InvalidField");
    }
}
