//! How far a plugin's process is confined.
//!
//! What this file is for: [`Confine`], which an operator chooses. What it deliberately does not do: know how.

use std::str::FromStr;

/// How far a plugin's process is confined by the kernel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Confine {
    /// Not at all.
    #[cfg_attr(not(feature = "confine"), default)]
    Off,
    /// System calls that no plugin needs fail, and set-id files and file capabilities bring nothing. As far as the kernel can.
    #[cfg_attr(feature = "confine", default)]
    Base,
}

impl Confine {
    /// Every choice with its name in configurations.
    pub const ALL: [(Confine, &'static str); 2] = [(Confine::Off, "off"), (Confine::Base, "base")];

    /// Its name in configurations.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Confine::Off => "off",
            Confine::Base => "base",
        }
    }
}

impl FromStr for Confine {
    type Err = String;

    fn from_str(text: &str) -> Result<Confine, String> {
        let found = Confine::ALL.iter().find(|(_, name)| *name == text);
        found
            .map(|(confine, _)| *confine)
            .ok_or_else(|| format!("{text:?} is no confinement; one of off, base"))
    }
}
