//! Secrets: named in the configuration, read from the environment, a file or a systemd credential.

use std::path::Path;

use crate::diagnostic::document::Item;
use crate::pii::Secret;

/// Where secrets and the like come from, so that tests need not change the process.
pub(super) struct Surroundings<'e> {
    /// Looks up a variable of the environment.
    pub(super) env: &'e dyn Fn(&str) -> Option<String>,
}

const EXAMPLE: &str = "{ env = \"TRUNK_PASSWORD\" }";

/// Reads `{ env = "..." }`, `{ file = "..." }` (relative to `dir`) or `{ credential = "..." }`.
pub(super) fn read(item: &Item<'_, '_>, dir: &Path, surroundings: &Surroundings<'_>) -> Option<Secret> {
    if item.as_text().is_some() {
        let help = format!(
            "write `{} = {EXAMPLE}`, `{{ file = \"...\" }}` or `{{ credential = \"...\" }}`, and change the secret if others could read it here",
            item.key
        );
        item.source().error_hiding(
            item.span.clone(),
            format!("`{}` must not stand in this file", item.key),
            help,
        );
        return None;
    }
    let table = item.table(format!("`{}`", item.key), EXAMPLE)?;
    let (env, file, credential) = (table.get("env"), table.get("file"), table.get("credential"));
    table.finish();
    let given: Vec<_> = [&env, &file, &credential].into_iter().flatten().collect();
    let [only] = given.as_slice() else {
        let message = format!("`{}` needs exactly one of `env`, `file` and `credential`", item.key);
        item.error(message, format!("write `{} = {EXAMPLE}`", item.key));
        return None;
    };
    let name = only.text("\"TRUNK_PASSWORD\"")?;
    let (value, what) = if env.is_some() {
        (
            (surroundings.env)(name).ok_or("it is not set".to_owned()),
            format!("the environment variable `{name}`"),
        )
    } else if file.is_some() {
        (read_file(&dir.join(name)), format!("the file `{name}`"))
    } else {
        let value = match (surroundings.env)("CREDENTIALS_DIRECTORY") {
            _ if name.contains(['/', '\0']) || name == ".." => Err("its name must be one word".to_owned()),
            Some(credentials) => read_file(&Path::new(&credentials).join(name)),
            None => Err("the engine was not started by systemd with credentials".to_owned()),
        };
        (value, format!("the credential `{name}`"))
    };
    let value = value.and_then(|value| match value.is_empty() {
        true => Err("it is empty".to_owned()),
        false => Ok(value),
    });
    match value {
        Ok(value) => Some(Secret::new(value)),
        Err(why) => {
            let help = match only.key {
                "env" => format!("set it where the engine starts: `export {name}=...`"),
                "file" => "the path is relative to this file; put the secret alone on a line".to_owned(),
                _ => format!("add `LoadCredential={name}:/path/to/secret` to the unit"),
            };
            only.error(format!("{what} cannot be read: {why}"), help);
            None
        }
    }
}

/// The first line that is neither empty nor a comment (`# ...`).
fn read_file(path: &Path) -> Result<String, String> {
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    let line =
        text.lines().map(str::trim).find(|line| !line.is_empty() && *line != "#" && !line.starts_with("# "));
    Ok(line.unwrap_or_default().to_owned())
}
