//! `phones.toml`: the telephones of the house, which register here and can dial our numbers.

use std::collections::BTreeMap;
use std::path::Path;

use super::Did;
use super::secret::{self, Surroundings};
use crate::diagnostic::document::{self, Item, Table};
use crate::diagnostic::{Diagnostic, Source};
use crate::pii::Secret;
use crate::route::Number;

/// The most telephones in the file.
const MAX_PHONES: usize = 10_000;

/// The most devices of one telephone, and how many if nothing is said.
const MAX_CONTACTS: u32 = 10;
const DEFAULT_CONTACTS: u32 = 3;

/// A telephone of the house.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Phone {
    /// Its name: the username it registers with.
    pub name: String,
    /// The number under which it calls.
    pub number: Number,
    /// Its password.
    pub password: Secret,
    /// How many devices may be registered for it at once.
    pub max_contacts: u32,
    /// Whether its devices give up when they are offered a digest other than MD5.
    pub md5_only: bool,
}

impl Phone {
    /// Why a call to its number takes no trunk.
    pub fn on_net(&self) -> String {
        format!("on-net: telephone {}", self.name)
    }
}

/// Reads the telephones; secrets in files are looked for in `dir`. A number of `dids` cannot be a telephone's as well.
pub(super) fn parse(
    file: &str,
    text: &str,
    dir: &Path,
    surroundings: &Surroundings<'_>,
    dids: &BTreeMap<Number, Did>,
) -> Result<BTreeMap<String, Phone>, Vec<Diagnostic>> {
    let source = Source::new(file, text);
    let phones = document::parse(&source, |root| read(root, dir, surroundings, dids)).unwrap_or_default();
    if source.count() == 0 { Ok(phones) } else { Err(source.into_diagnostics()) }
}

fn read(
    root: &Table<'_, '_>,
    dir: &Path,
    surroundings: &Surroundings<'_>,
    dids: &BTreeMap<Number, Did>,
) -> BTreeMap<String, Phone> {
    let example = "{ desk = { number = \"+442071838751\", password = { env = \"DESK_PASSWORD\" } } }";
    let table = root.get("phone").and_then(|item| item.table("[phone]", example));
    root.finish();
    let mut phones: BTreeMap<String, Phone> = BTreeMap::new();
    for item in table.iter().flat_map(Table::entries) {
        if phones.len() >= MAX_PHONES {
            item.key_error(format!("more than {MAX_PHONES} telephones"), "remove some");
            break;
        }
        let Some(phone) = read_phone(&item, dir, surroundings) else { continue };
        let other = phones.values().find(|other| other.number == phone.number);
        if let Some(other) = other {
            item.key_error(
                format!("`{}` and `{}` have the same number", other.name, phone.name),
                "give each telephone a number of its own; several devices can register for one telephone",
            );
        } else if dids.contains_key(&phone.number) {
            item.key_error(
                format!("the number of `{}` is answered by a plan in numbers.toml", phone.name),
                "take it out of one of the two files",
            );
        } else {
            phones.insert(phone.name.clone(), phone);
        }
    }
    phones
}

fn read_phone(item: &Item<'_, '_>, dir: &Path, surroundings: &Surroundings<'_>) -> Option<Phone> {
    if !super::load::is_name(item.key) {
        item.key_error(format!("`{}` cannot be used as a name", item.key), "write letters, digits and `-`");
        return None;
    }
    let example = "{ number = \"+442071838751\", password = { env = \"DESK_PASSWORD\" } }";
    let table = item.table(format!("[phone.{}]", item.key), example)?;
    let number = table.require("number", "number = \"+442071838751\"");
    let number = number.and_then(|item| item.parsed("\"+442071838751\"", |text| Number::parse(text, None)));
    let password = table.require("password", "password = { env = \"DESK_PASSWORD\" }");
    let password = password.and_then(|item| secret::read(&item, dir, surroundings));
    let max_contacts =
        table.get("max_contacts").map_or(Some(DEFAULT_CONTACTS), |item| item.integer(1..=MAX_CONTACTS));
    let md5_only = table.get("md5_only").map_or(Some(false), |item| item.boolean());
    table.finish();
    Some(Phone {
        name: item.key.to_owned(),
        number: number?,
        password: password?,
        max_contacts: max_contacts?,
        md5_only: md5_only?,
    })
}
