//! `message!`, which turns a table of the standard into a type with decoder, encoder and version check.
//!
//! A structure is stated row by row, as the standard's tables do: tag, field, type, cardinality, first and last version.
//!
//! ```text
//! message! {
//!     /// Revocation Reason, 3.31.
//!     struct RevocationReason<'a> {
//!         REVOCATION_REASON_CODE: code,    RevocationReasonCode, required, V1_0..=V1_4;
//!         REVOCATION_MESSAGE:     message, &'a str,              optional, V1_0..=V1_4;
//!     }
//! }
//! ```
//!
//! | cardinality | field | decoding | encoding |
//! |---|---|---|---|
//! | `required` | `T` | exactly once | always |
//! | `optional` | `Option<T>` | at most once | if there and legal in the version |
//! | `criterion` | `Option<T>` | exactly once; in Locate, which may name part of a structure (4.9), at most once | as `optional` |
//! | `repeated` | `Vec<T>` | any number of times | those legal in the version |
//! | `several` | `Vec<T>` | at least once | as `repeated` |
//! | `one_of` | `T` | exactly one field under any of the row's tags, which stand as `THIS \| THAT` | always, under the value's own tag |
//!
//! The order of fields is free when reading, because clients differ and nothing can be mistaken; writing keeps the order of the rows.
//! An enumeration's rows are its values, the attribute table's rows the attributes; see `enums.rs` and `attribute.rs`.

use crate::error::Error;
use crate::tag::Tag;
use crate::ttlv::{Item, ItemType, Writer};
use crate::version::ProtocolVersion;

/// How often one field may repeat in a request. (A response is bounded by the client's message limit.)
pub const FIELD_REPEATS_MAX: usize = 1024;

/// What a message may contain, by its protocol version and its sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// The version that says which fields, values and attributes exist, and in which the answer is written.
    pub version: ProtocolVersion,
    passes_over_unknown: bool,
    locates: bool,
    repeats_max: usize,
}

impl Rules {
    /// The rules for a request in this version.
    #[must_use]
    pub const fn of(version: ProtocolVersion) -> Self {
        Self { version, passes_over_unknown: false, locates: false, repeats_max: FIELD_REPEATS_MAX }
    }

    /// The rules for a response in this version: the client has set a limit on its size.
    #[must_use]
    pub const fn of_response(version: ProtocolVersion) -> Self {
        Self { repeats_max: usize::MAX, ..Self::of(version) }
    }

    /// For a message of a later minor version: fields not known yet are no error (11.1).
    #[must_use]
    pub const fn passing_over_unknown_fields(self) -> Self {
        Self { passes_over_unknown: true, ..self }
    }

    /// For the payload of a Locate request: an attribute that is a structure may be given in part (4.9).
    #[must_use]
    pub const fn locating(self) -> Self {
        Self { locates: true, ..self }
    }

    /// Refuses what the version does not have.
    pub(crate) fn require(self, field: &'static str, since: ProtocolVersion, until: ProtocolVersion) -> Result<(), Error> {
        if (since..=until).contains(&self.version) { Ok(()) } else { Err(Error::NotInVersion { field, version: self.version }) }
    }

    /// What becomes of a field that the structure does not have.
    pub(crate) fn unknown(self, field: Item<'_>) -> Result<(), Error> {
        if self.passes_over_unknown {
            return field.check();
        }
        Err(Error::Unknown { offset: field.offset, field: field.tag.name() })
    }
}

/// A type that can be read from one item.
pub trait Decode<'a>: Sized {
    /// The type its items have.
    const TYPE: ItemType;

    /// Reads the value of `item`, whatever its tag.
    fn decode(item: Item<'a>, rules: Rules) -> Result<Self, Error>;
}

/// A type that can be written as one item.
pub trait Encode {
    /// Writes the value under this tag, leaving out what is not legal in the writer's version.
    fn encode(&self, tag: Tag, out: &mut Writer<'_>);

    /// Whether the value exists in this version; if not, an optional field leaves it out.
    fn legal_in(&self, version: ProtocolVersion) -> bool {
        let _ = version;
        true
    }
}

/// A type whose tag says which of several fields it is: what a row with the cardinality `one_of` holds.
pub trait OneOf: Encode {
    /// The names of all these fields, as errors call them.
    const NAMES: &'static str;

    /// The tag of the field that it is.
    fn tag(&self) -> Tag;
}

/// A row of a structure's table.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The field; several if any one of them may stand there.
    pub tags: &'static [Tag],
    /// The word in the cardinality column.
    pub cardinality: &'static str,
    /// First version that has the field.
    pub since: ProtocolVersion,
    /// Last version that has the field.
    pub until: ProtocolVersion,
}

/// Puts a field that may stand once into its place.
pub(crate) fn once<'a, T: Decode<'a>>(place: &mut Option<T>, field: Item<'a>, rules: Rules) -> Result<(), Error> {
    if place.is_some() {
        return Err(Error::Duplicate { offset: field.offset, field: field.tag.name() });
    }
    *place = Some(T::decode(field, rules)?);
    Ok(())
}

/// Puts one of several fields, of which one may stand there, into its place.
pub(crate) fn one_of<'a, T: Decode<'a> + OneOf>(place: &mut Option<T>, field: Item<'a>, rules: Rules) -> Result<(), Error> {
    if place.is_some() {
        return Err(Error::Duplicate { offset: field.offset, field: T::NAMES });
    }
    once(place, field, rules)
}

/// Appends a field that may repeat.
pub(crate) fn again<'a, T: Decode<'a>>(place: &mut Vec<T>, field: Item<'a>, rules: Rules) -> Result<(), Error> {
    if place.len() >= rules.repeats_max {
        return Err(Error::TooMany { offset: field.offset, field: field.tag.name(), most: rules.repeats_max });
    }
    place.push(T::decode(field, rules)?);
    Ok(())
}

/// Insists on a field that has to be there.
pub(crate) fn present<T>(place: Option<T>, within: Item<'_>, tag: Tag) -> Result<T, Error> {
    place.ok_or_else(|| missing(within, tag))
}

/// Insists on one of several fields.
pub(crate) fn present_one_of<T: OneOf>(place: Option<T>, within: Item<'_>) -> Result<T, Error> {
    place.ok_or(Error::Missing { offset: within.offset, field: T::NAMES })
}

/// Insists on a field that has to be there unless a Locate request names part of a structure.
pub(crate) fn present_unless_locating<T>(place: Option<T>, within: Item<'_>, tag: Tag, rules: Rules) -> Result<Option<T>, Error> {
    if place.is_none() && !rules.locates { Err(missing(within, tag)) } else { Ok(place) }
}

/// Insists on at least one of a field that may repeat.
pub(crate) fn not_empty<T>(place: Vec<T>, within: Item<'_>, tag: Tag) -> Result<Vec<T>, Error> {
    if place.is_empty() { Err(missing(within, tag)) } else { Ok(place) }
}

fn missing(within: Item<'_>, tag: Tag) -> Error {
    Error::Missing { offset: within.offset, field: tag.name() }
}

/// Writes a field that may be left out or repeat: what is there and exists in the writer's version.
pub(crate) fn encode_legal<'v, T: Encode + 'v>(values: impl IntoIterator<Item = &'v T>, tag: Tag, out: &mut Writer<'_>) {
    for value in values {
        if value.legal_in(out.version()) {
            value.encode(tag, out);
        }
    }
}

/// Makes types from tables of the standard; the module's text says how a table looks.
macro_rules! message {
    // Structures, with and without fields that borrow.
    ($(#[$meta:meta])* struct $name:ident<$life:lifetime> { $($rows:tt)* }) => {
        message! { @structure $life [$name<$life>] [$name<'_>] $name $(#[$meta])* { $($rows)* } }
    };
    ($(#[$meta:meta])* struct $name:ident { $($rows:tt)* }) => {
        message! { @structure 'a [$name] [$name] $name $(#[$meta])* { $($rows)* } }
    };
    (@structure $life:lifetime [$($whole:tt)*] [$($anonymous:tt)*] $name:ident $(#[$meta:meta])* {
        $($($tag:ident)|+: $field:ident, $type:ty, $cardinality:ident, $since:ident ..= $until:ident;)*
    }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq)]
        pub struct $($whole)* {
            $(
                #[doc = concat!(stringify!($cardinality), ", ", stringify!($since), " to ", stringify!($until))]
                pub $field: message!(@place $cardinality $type),
            )*
        }

        impl $($anonymous)* {
            /// The standard's table of this structure.
            pub const ROWS: &'static [$crate::schema::Row] = &[$($crate::schema::Row {
                tags: &[$($crate::tag::Tag::$tag),+],
                cardinality: stringify!($cardinality),
                since: $crate::version::ProtocolVersion::$since,
                until: $crate::version::ProtocolVersion::$until,
            }),*];

            /// Writes the fields without the structure around them, so that others can follow.
            pub fn encode_fields(&self, out: &mut $crate::ttlv::Writer<'_>) {
                $(
                    if ($crate::version::ProtocolVersion::$since..=$crate::version::ProtocolVersion::$until).contains(&out.version()) {
                        message!(@write $cardinality self.$field, $($tag)|+, out);
                    }
                )*
            }
        }

        impl<$life> $crate::schema::Decode<$life> for $($whole)* {
            const TYPE: $crate::ttlv::ItemType = $crate::ttlv::ItemType::Structure;

            fn decode(item: $crate::ttlv::Item<$life>, rules: $crate::schema::Rules) -> Result<Self, $crate::error::Error> {
                $(let mut $field = message!(@start $cardinality);)*
                let mut fields = item.fields()?;
                while let Some(field) = fields.next_item()? {
                    match field.tag {
                        $($($crate::tag::Tag::$tag)|+ => {
                            rules.require(
                                field.tag.name(),
                                $crate::version::ProtocolVersion::$since,
                                $crate::version::ProtocolVersion::$until,
                            )?;
                            message!(@put $cardinality $field, field, rules);
                        })*
                        _ => rules.unknown(field)?,
                    }
                }
                Ok(Self { $($field: message!(@take $cardinality $field, item, $($tag)|+, rules),)* })
            }
        }

        impl $crate::schema::Encode for $($anonymous)* {
            fn encode(&self, tag: $crate::tag::Tag, out: &mut $crate::ttlv::Writer<'_>) {
                let open = out.open(tag);
                self.encode_fields(out);
                out.close(open);
            }

            fn legal_in(&self, _version: $crate::version::ProtocolVersion) -> bool {
                true $(&& message!(@legal $cardinality self.$field, _version, $since, $until))*
            }
        }
    };

    // The cardinalities: what a field is stored in, starts from, and how it is read, insisted on, written and checked.
    (@place required $type:ty) => { $type };
    (@place one_of $type:ty) => { $type };
    (@place optional $type:ty) => { Option<$type> };
    (@place criterion $type:ty) => { Option<$type> };
    (@place repeated $type:ty) => { Vec<$type> };
    (@place several $type:ty) => { Vec<$type> };
    (@start repeated) => { Vec::new() };
    (@start several) => { Vec::new() };
    (@start $once:ident) => { None };
    (@put repeated $place:ident, $item:ident, $rules:ident) => { $crate::schema::again(&mut $place, $item, $rules)? };
    (@put several $place:ident, $item:ident, $rules:ident) => { $crate::schema::again(&mut $place, $item, $rules)? };
    (@put one_of $place:ident, $item:ident, $rules:ident) => { $crate::schema::one_of(&mut $place, $item, $rules)? };
    (@put $once:ident $place:ident, $item:ident, $rules:ident) => { $crate::schema::once(&mut $place, $item, $rules)? };
    (@take required $place:ident, $within:ident, $tag:ident, $rules:ident) => {
        $crate::schema::present($place, $within, $crate::tag::Tag::$tag)?
    };
    (@take criterion $place:ident, $within:ident, $tag:ident, $rules:ident) => {
        $crate::schema::present_unless_locating($place, $within, $crate::tag::Tag::$tag, $rules)?
    };
    (@take several $place:ident, $within:ident, $tag:ident, $rules:ident) => {
        $crate::schema::not_empty($place, $within, $crate::tag::Tag::$tag)?
    };
    (@take one_of $place:ident, $within:ident, $($tag:ident)|+, $rules:ident) => { $crate::schema::present_one_of($place, $within)? };
    (@take $free:ident $place:ident, $within:ident, $tag:ident, $rules:ident) => { $place };
    (@write required $self:ident.$field:ident, $tag:ident, $out:ident) => {
        $crate::schema::Encode::encode(&$self.$field, $crate::tag::Tag::$tag, $out)
    };
    (@write one_of $self:ident.$field:ident, $($tag:ident)|+, $out:ident) => {
        $crate::schema::Encode::encode(&$self.$field, $crate::schema::OneOf::tag(&$self.$field), $out)
    };
    (@write $free:ident $self:ident.$field:ident, $tag:ident, $out:ident) => {
        $crate::schema::encode_legal(&$self.$field, $crate::tag::Tag::$tag, $out)
    };
    (@legal required $self:ident.$field:ident, $version:ident, $since:ident, $until:ident) => {
        ($crate::version::ProtocolVersion::$since..=$crate::version::ProtocolVersion::$until).contains(&$version)
            && $crate::schema::Encode::legal_in(&$self.$field, $version)
    };
    (@legal one_of $self:ident.$field:ident, $version:ident, $since:ident, $until:ident) => {
        message!(@legal required $self.$field, $version, $since, $until)
    };
    (@legal criterion $self:ident.$field:ident, $version:ident, $since:ident, $until:ident) => {
        $self.$field.as_ref().is_none_or(|value| $crate::schema::Encode::legal_in(value, $version))
    };
    (@legal several $self:ident.$field:ident, $version:ident, $since:ident, $until:ident) => {
        $self.$field.iter().any(|value| $crate::schema::Encode::legal_in(value, $version))
    };
    (@legal $free:ident $self:ident.$field:ident, $version:ident, $since:ident, $until:ident) => { true };

    // Enumerations.
    ($(#[$meta:meta])* enum $name:ident { $($number:literal $variant:ident $text:literal $since:ident;)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name {
            $(#[doc = concat!($text, ", since ", stringify!($since))] $variant,)*
            /// A vendor's own value, 80000000 to 8FFFFFFF.
            Extension(u32),
        }

        impl $name {
            /// The published values.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The numbers of the published values with their names.
            pub(crate) const TABLE: &'static [(u32, &'static str)] = &[$(($number, $text)),*];

            /// The value with this number; `None` if it is neither published nor a vendor's.
            #[must_use]
            pub const fn of(number: u32) -> Option<Self> {
                match number {
                    $($number => Some(Self::$variant),)*
                    0x8000_0000..=0x8FFF_FFFF => Some(Self::Extension(number)),
                    _ => None,
                }
            }

            /// The number on the wire.
            #[must_use]
            pub const fn number(self) -> u32 {
                match self {
                    $(Self::$variant => $number,)*
                    Self::Extension(number) => number,
                }
            }

            /// The name in the standard's table.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                    Self::Extension(_) => "a vendor's extension",
                }
            }

            /// The first version that has this value.
            #[must_use]
            pub const fn since(self) -> $crate::version::ProtocolVersion {
                match self {
                    $(Self::$variant => $crate::version::ProtocolVersion::$since,)*
                    Self::Extension(_) => $crate::version::ProtocolVersion::V1_0,
                }
            }
        }

        impl<'a> $crate::schema::Decode<'a> for $name {
            const TYPE: $crate::ttlv::ItemType = $crate::ttlv::ItemType::Enumeration;

            fn decode(item: $crate::ttlv::Item<'a>, rules: $crate::schema::Rules) -> Result<Self, $crate::error::Error> {
                let value = Self::of(item.enumeration()?).filter(|value| value.since() <= rules.version);
                value.ok_or_else(|| $crate::error::Error::Invalid {
                    offset: item.offset,
                    field: item.tag.name(),
                    why: "the protocol version has no such value",
                })
            }
        }

        impl $crate::schema::Encode for $name {
            fn encode(&self, tag: $crate::tag::Tag, out: &mut $crate::ttlv::Writer<'_>) {
                out.enumeration(tag, self.number());
            }

            fn legal_in(&self, version: $crate::version::ProtocolVersion) -> bool {
                self.since() <= version
            }
        }
    };

    // The attribute table.
    (attributes<$life:lifetime> {
        $($text:literal: $variant:ident, $tag:ident, $type:ty, $instances:ident, $set_by:ident, $modifiable:ident, $deletable:ident, $since:ident ..= $until:ident;)*
    }) => {
        /// A standard attribute.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum AttributeName {
            $(#[doc = $text] $variant,)*
        }

        /// The value of an attribute, which also says which attribute it is.
        #[derive(Clone, Debug, PartialEq)]
        pub enum AttributeValue<$life> {
            $(#[doc = $text] $variant($type),)*
            /// An attribute of a client's (`x-`) or the server's (`y-`) making, with its whole name.
            Custom(&$life str, $crate::ttlv::Value<$life>),
        }

        impl AttributeName {
            /// All standard attributes, in the order of the standard.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The attribute with this name, spelt exactly so.
            #[must_use]
            pub fn of(name: &str) -> Option<Self> {
                match name {
                    $($text => Some(Self::$variant),)*
                    _ => None,
                }
            }

            /// Its row in the table.
            #[must_use]
            pub const fn row(self) -> AttributeRow {
                AttributeValue::row_of(self)
            }

            /// Reads a value of this attribute.
            fn decode<$life>(
                self,
                item: $crate::ttlv::Item<$life>,
                rules: $crate::schema::Rules,
            ) -> Result<AttributeValue<$life>, $crate::error::Error> {
                match self {
                    $(Self::$variant => <$type as $crate::schema::Decode<$life>>::decode(item, rules).map(AttributeValue::$variant),)*
                }
            }
        }

        impl<$life> AttributeValue<$life> {
            const fn row_of(name: AttributeName) -> AttributeRow {
                match name {
                    $(AttributeName::$variant => AttributeRow {
                        name: $text,
                        tag: $crate::tag::Tag::$tag,
                        kind: <$type as $crate::schema::Decode<$life>>::TYPE,
                        instances: Instances::$instances,
                        set_by: SetBy::$set_by,
                        modifiable: Modifiable::$modifiable,
                        deletable: Deletable::$deletable,
                        since: $crate::version::ProtocolVersion::$since,
                        until: $crate::version::ProtocolVersion::$until,
                    },)*
                }
            }

            /// The name as Attribute Name carries it.
            #[must_use]
            pub const fn name(&self) -> &$life str {
                match self {
                    $(Self::$variant(_) => $text,)*
                    Self::Custom(name, _) => name,
                }
            }

            /// Which standard attribute it is; `None` for a custom one.
            #[must_use]
            pub const fn standard(&self) -> Option<AttributeName> {
                match self {
                    $(Self::$variant(_) => Some(AttributeName::$variant),)*
                    Self::Custom(..) => None,
                }
            }
        }

        impl $crate::schema::Encode for AttributeValue<'_> {
            fn encode(&self, tag: $crate::tag::Tag, out: &mut $crate::ttlv::Writer<'_>) {
                match self {
                    $(Self::$variant(value) => $crate::schema::Encode::encode(value, tag, out),)*
                    Self::Custom(_, value) => value.write(tag, out),
                }
            }

            fn legal_in(&self, version: $crate::version::ProtocolVersion) -> bool {
                match self {
                    $(Self::$variant(value) => {
                        ($crate::version::ProtocolVersion::$since..=$crate::version::ProtocolVersion::$until).contains(&version)
                            && $crate::schema::Encode::legal_in(value, version)
                    })*
                    Self::Custom(..) => true,
                }
            }
        }
    };
}

pub(crate) use message;
