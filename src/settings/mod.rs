//! Settings as they are written: JSON whose values know where they stand, kinds of values, and the table of a plugin's.
//!
//! What it deliberately does not do: open a file; know what else stands in one.

mod json;
mod layers;
mod plugin_parts;
mod policy;
mod read;
mod setting;
mod value;

pub(crate) use json::{JsonSource, Members, Node, Object};
pub use layers::{AcceptedType, AcceptedTypes, NamedSettings, PackageOverrides};
pub(crate) use plugin_parts::{Places, members, strings_of, take_env, take_interfaces, tell};
pub use policy::POLICY;
pub(crate) use read::{Written, check_policy, checked, take_settings};
pub use setting::Setting;
pub(crate) use setting::{Field, named_fields, settings};
pub use value::{AUTO, Kind, UNLIMITED, Value};
pub(crate) use value::{Checked, WAIT, show_bytes};
