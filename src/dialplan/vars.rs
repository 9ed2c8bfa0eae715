//! The variables of a plan: declared with a type, filled from the delivery, the command line or the configuration.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::spoken;
use crate::diagnostic::nearest;

/// What a variable holds, which decides how it is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VarType {
    /// Words, spoken as they are.
    Text,
    /// A time of day (`14:30`, or a date and time whose time of day counts), spoken as people say it.
    Time,
    /// A number.
    Number,
    /// Letters and digits such as an order number, spoken one by one.
    Code,
}

impl VarType {
    /// The words for the types, as written in `[vars]`.
    pub const WORDS: &'static [(&'static str, VarType)] =
        &[("text", Self::Text), ("time", Self::Time), ("number", Self::Number), ("code", Self::Code)];
}

/// A declared variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Var {
    /// What it holds.
    pub kind: VarType,
    /// A call cannot begin without it.
    pub required: bool,
    /// Its value when none is given.
    pub default: Option<String>,
}

/// Variables that every call of a delivery brings along, whether or not its plan declares them.
pub const STANDARD: &[(&str, &str)] = &[
    ("name", "the customer's name"),
    ("eta", "when the delivery will arrive, in the depot's time zone"),
    ("order", "the order's reference"),
    ("address", "where the delivery goes"),
    ("agent", "the driver's name"),
    ("depot", "who is calling: `depot` in callahead.toml"),
];

/// The longest value of a variable, in characters; what is longer is cut.
pub const LONGEST_VALUE: usize = 300;

/// Why a call cannot begin with the variables it was given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VarError {
    /// A required variable has no value.
    #[error(
        "the plan `{plan}` needs a value for `{name}`; give it with the delivery or as `--set {name}=...`"
    )]
    Missing {
        /// The plan.
        plan: String,
        /// The variable.
        name: String,
    },
    /// A variable that the plan does not declare.
    #[error("the plan `{plan}` has no variable `{name}`{}", .nearest.as_ref().map(|n| format!("; did you mean `{n}`?")).unwrap_or_default())]
    Unknown {
        /// The plan.
        plan: String,
        /// The variable.
        name: String,
        /// A declared one with a similar name.
        nearest: Option<String>,
    },
    /// A value that is not of the variable's type.
    #[error("`{name}` must be {expected}")]
    Invalid {
        /// The variable.
        name: String,
        /// What it must be.
        expected: &'static str,
    },
}

impl VarError {
    /// The variable that is wrong.
    pub fn variable(&self) -> &str {
        match self {
            Self::Missing { name, .. } | Self::Unknown { name, .. } | Self::Invalid { name, .. } => name,
        }
    }
}

/// The value of a time variable for a moment: its time of day in `zone`.
pub fn time_value(moment: Timestamp, zone: &TimeZone) -> String {
    moment.to_zoned(zone.clone()).strftime("%H:%M").to_string()
}

/// Checks what was given against what is declared, and adds the defaults.
pub(super) fn resolve(
    plan: &str,
    declared: &BTreeMap<String, Var>,
    mut given: BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>, VarError> {
    let standard = |name: &str| STANDARD.iter().any(|(standard, _)| *standard == name);
    if let Some(name) = given.keys().find(|name| !declared.contains_key(*name) && !standard(name)) {
        let near = nearest(name, declared.keys().map(String::as_str)).map(str::to_owned);
        return Err(VarError::Unknown { plan: plan.to_owned(), name: name.clone(), nearest: near });
    }
    let mut values = BTreeMap::new();
    for (name, var) in declared {
        let value = given.remove(name).map(|value| clean(&value)).filter(|value| !value.is_empty());
        let value = match value.or_else(|| var.default.clone()) {
            Some(value) => value,
            None if var.required => {
                return Err(VarError::Missing { plan: plan.to_owned(), name: name.clone() });
            }
            None => String::new(),
        };
        check(var.kind, &value).map_err(|expected| VarError::Invalid { name: name.clone(), expected })?;
        values.insert(name.clone(), value);
    }
    Ok(values)
}

/// Says what a value of this type must be, if it is not.
pub(super) fn check(kind: VarType, value: &str) -> Result<(), &'static str> {
    match kind {
        VarType::Time if spoken::time_of_day(value).is_none() => Err("a time of day such as \"14:30\""),
        VarType::Number if value.parse::<f64>().is_ok_and(f64::is_finite) => Ok(()),
        VarType::Number => Err("a number such as \"3\""),
        _ => Ok(()),
    }
}

/// Without control characters and without the ends' spaces, of bounded length.
pub(super) fn clean(value: &str) -> String {
    let flat: String =
        value.chars().map(|c| if c.is_control() { ' ' } else { c }).take(LONGEST_VALUE).collect();
    flat.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn declared() -> BTreeMap<String, Var> {
        let var = |kind, required, default: Option<&str>| Var {
            kind,
            required,
            default: default.map(str::to_owned),
        };
        BTreeMap::from([
            ("name".to_owned(), var(VarType::Text, true, None)),
            ("eta".to_owned(), var(VarType::Time, false, Some("12:00"))),
            ("floor".to_owned(), var(VarType::Number, false, Some("0"))),
        ])
    }

    fn given(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn fills_defaults_and_ignores_standard_ones() {
        let values = resolve("p", &declared(), given(&[("name", " Ada\n"), ("order", "A1")])).unwrap();
        assert_eq!(values, given(&[("name", "Ada"), ("eta", "12:00"), ("floor", "0")]));
    }

    #[test]
    fn a_moment_is_told_in_the_depots_zone() {
        let moment: Timestamp = "2026-07-01T12:05:59Z".parse().unwrap();
        assert_eq!(time_value(moment, &TimeZone::fixed(jiff::tz::offset(2))), "14:05");
        assert_eq!(time_value(moment, &TimeZone::UTC), "12:05");
    }

    #[test]
    fn says_what_is_wrong() {
        let error = |pairs| resolve("p", &declared(), given(pairs)).unwrap_err().to_string();
        assert!(error(&[]).contains("needs a value for `name`"));
        assert!(error(&[("name", " ")]).contains("needs a value for `name`"));
        assert!(error(&[("name", "A"), ("flor", "1")]).ends_with("did you mean `floor`?"));
        assert!(error(&[("name", "A"), ("eta", "soon")]).contains("time of day"));
        assert!(error(&[("name", "A"), ("floor", "inf")]).contains("a number"));
    }
}
