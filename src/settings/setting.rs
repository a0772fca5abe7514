//! One setting: how it is read from what was written, and shown as it would be.
//!
//! What it deliberately does not do: know any setting, or read a file or a command line.
//!
//! What always holds: what a setting shows, it reads back as the same value; it takes no value outside of what it says
//! is allowed.

use super::value::{AUTO, Checked, Kind, UNLIMITED, Value, show_bytes};
use crate::state::policy::Policy;
use std::time::Duration;

/// One setting of `T`.
pub struct Setting<T: 'static> {
    /// Its key in the configuration file.
    pub key: &'static str,
    /// Its flag, without the leading `--`.
    pub flag: &'static str,
    /// What it takes.
    pub kind: Kind,
    /// One sentence, for help and documentation.
    pub doc: &'static str,
    pub(crate) apply: fn(&mut T, Checked),
    pub(crate) read: fn(&T) -> Checked,
}

/// A type of field that settings can have.
pub(crate) trait Field {
    fn put(&mut self, value: Checked);
    fn get(&self) -> Checked;
}

impl Field for Duration {
    fn put(&mut self, value: Checked) {
        if let Checked::Duration(duration) = value {
            *self = duration;
        }
    }
    fn get(&self) -> Checked {
        Checked::Duration(*self)
    }
}

impl Field for usize {
    fn put(&mut self, value: Checked) {
        if let Checked::Number(number) = value {
            *self = usize::try_from(number).unwrap_or(usize::MAX);
        }
    }
    fn get(&self) -> Checked {
        Checked::Number(*self as u64)
    }
}

/// A number that may be left to the daemon.
impl Field for Option<usize> {
    fn put(&mut self, value: Checked) {
        *self = match value {
            Checked::Number(number) => Some(usize::try_from(number).unwrap_or(usize::MAX)),
            _ => None,
        };
    }
    fn get(&self) -> Checked {
        self.map_or(Checked::Word(AUTO), |number| Checked::Number(number as u64))
    }
}

impl Field for u32 {
    fn put(&mut self, value: Checked) {
        match value {
            Checked::Number(number) => *self = u32::try_from(number).unwrap_or(u32::MAX),
            Checked::Word(UNLIMITED) => *self = Policy::RESTARTS_UNLIMITED,
            _ => {}
        }
    }
    fn get(&self) -> Checked {
        match *self {
            Policy::RESTARTS_UNLIMITED => Checked::Word(UNLIMITED),
            number => Checked::Number(u64::from(number)),
        }
    }
}

impl Field for bool {
    fn put(&mut self, value: Checked) {
        if let Checked::Switch(switch) = value {
            *self = switch;
        }
    }
    fn get(&self) -> Checked {
        Checked::Switch(*self)
    }
}

/// Makes fields of types with a list of their values and names.
macro_rules! named_fields {
    ($($type:ident)*) => {
        $(impl $crate::settings::Field for $type {
            fn put(&mut self, value: $crate::settings::Checked) {
                if let $crate::settings::Checked::Word(word) = value
                    && let Some((named, _)) = $type::ALL.iter().find(|(_, name)| *name == word)
                {
                    *self = *named;
                }
            }
            fn get(&self) -> $crate::settings::Checked {
                let named = $type::ALL.iter().find(|(named, _)| named == self);
                $crate::settings::Checked::Word(named.map_or("", |(_, name)| *name))
            }
        })*
    };
}

pub(crate) use named_fields;

/// Makes a table of settings, a row a field of its type.
macro_rules! settings {
    ($(#[$doc:meta])* $table:ident of $type:ident; $($key:ident $flag:literal $kind:expr, $text:literal;)*) => {
        $(#[$doc])*
        pub static $table: &[$crate::settings::Setting<$type>] = &[$($crate::settings::Setting {
            key: stringify!($key),
            flag: $flag,
            kind: $kind,
            doc: $text,
            apply: |target, value| $crate::settings::Field::put(&mut target.$key, value),
            read: |source| $crate::settings::Field::get(&source.$key),
        },)*];

        impl $type {
            /// Does nothing. A field without a row, or a row without a field, does not compile.
            const _EVERY_FIELD_HAS_A_ROW: fn($type) = |value| { let $type { $($key: _,)* } = value; };
        }
    };
}

pub(crate) use settings;

impl<T> Setting<T> {
    /// Reads a value and puts it into `target`; a refused one changes nothing.
    ///
    /// # Errors
    /// Says what is wrong with the value; [`Setting::allowed`] says what would be right.
    pub fn set(&self, target: &mut T, value: Value<'_>) -> Result<(), String> {
        (self.apply)(target, self.kind.check(value)?);
        Ok(())
    }

    /// The value as it would be written.
    #[must_use]
    pub fn show(&self, source: &T) -> String {
        match (self.read)(source) {
            Checked::Duration(duration) => humantime::format_duration(duration).to_string(),
            Checked::Word(word) => word.to_owned(),
            Checked::Switch(switch) => switch.to_string(),
            Checked::Number(number) if matches!(self.kind, Kind::Bytes(..)) => show_bytes(number),
            Checked::Number(number) => number.to_string(),
        }
    }

    /// The value as it stands in a file: a number where a number is meant.
    #[must_use]
    pub fn show_json(&self, source: &T) -> serde_json::Value {
        match (self.kind, (self.read)(source)) {
            (Kind::Count(..) | Kind::CountOr(..), Checked::Number(number)) => number.into(),
            (_, Checked::Switch(switch)) => switch.into(),
            _ => self.show(source).into(),
        }
    }

    /// Whether both have the same value of this setting.
    #[must_use]
    pub fn is_same(&self, one: &T, other: &T) -> bool {
        (self.read)(one) == (self.read)(other)
    }

    /// What is allowed, for error messages and documentation.
    #[must_use]
    pub fn allowed(&self) -> String {
        self.kind.to_string()
    }

    /// What stands for the value in help: `--heartbeat-interval DURATION`.
    #[must_use]
    pub fn placeholder(&self) -> &'static str {
        match self.kind {
            Kind::Duration { .. } => "DURATION",
            Kind::Count(..) | Kind::CountOr(..) => "N",
            Kind::Bytes(..) => "BYTES",
            Kind::Choice(_) => "WORD",
            Kind::Switch => "BOOL",
        }
    }
}
