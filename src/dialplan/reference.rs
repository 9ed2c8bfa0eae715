//! The dialplan reference, made from the verbs' own texts.

use std::fmt::Write;

use super::vars::{STANDARD, VarType};
use super::verb::REFERENCES;

const HEAD: &str = "\
# Dialplans

<!-- Made from the reference texts in src/dialplan/verb/. Change them there; then: UPDATE=1 cargo test --lib dialplan::reference -->

A dialplan says what a call says and asks. It is a TOML file in the directory of the dialplans; its name without `.toml` is
the plan's name. `callahead check` reads all plans and shows what is wrong, where, and what to write instead. A call keeps the
version of the plan that it began with.

```toml
title    = \"Confirm a delivery\"     # what a person reads
start    = \"greet\"                  # the first step
language = [\"en\", \"es\"]             # the first is the fallback; the customer's own wins

[vars]
name = { type = \"text\", required = true }
eta  = { type = \"time\", required = true }

[step.greet]
say  = { en = \"Hello {name}. Your parcel arrives at {eta}.\", es = \"Hola {name}. Su paquete llega a {eta}.\" }
next = \"bye\"

[step.bye]
outcome = \"told\"
say     = { en = \"Goodbye.\", es = \"Adiós.\" }
hangup  = true
```

## Steps

A step does one thing, named by its verb, after its prompt: `say` or `play` beside `gather`, `record`, `pause` or `hangup` is
what is heard first. `outcome`, one word such as `confirmed`, `instructions`, `no_response`, `reschedule`, `opt_out` or
`not_home`, is what the call has come to when it enters the step; a later one replaces it. Every step must be reachable, every
way must come to a `hangup`, and no loop may go on without the customer doing anything. A call enters at most 1,000 steps.

## Variables

`[vars]` declares what a plan's texts mention. Each has a `type` and is either `required = true` or has a `default`.

";

/// The whole manual, as committed in `docs/dialplans.md`.
pub fn reference() -> String {
    let mut text = HEAD.to_owned();
    text.push_str("| type | spoken as |\n|---|---|\n");
    for (word, kind) in VarType::WORDS {
        let spoken = match kind {
            VarType::Text => "it is",
            VarType::Time => {
                "a time of day: `14:30` is \"two thirty in the afternoon\", \"las dos y media de la tarde\", \"14 Uhr 30\", \"14 heures 30\"; write at {eta}, a {eta}, um {eta}, à {eta}"
            }
            VarType::Number => "the voice reads numbers",
            VarType::Code => "letters and digits one by one",
        };
        let _ = writeln!(text, "| `{word}` | {spoken} |");
    }
    text.push_str("\n`{order|spell}` says any variable one by one. A delivery fills these, if the plan declares them:\n\n");
    for (name, meaning) in STANDARD {
        let _ = writeln!(text, "- `{name}`: {meaning}");
    }
    text.push_str(
        "\nDuring the call there are also `language`, `digits` (the keys of the last answer), `spoke` (`yes` or `no`: whether \
         somebody spoke in the last recording), and what `gather.into` and `set` name.\n\n# The verbs\n",
    );
    for verb in REFERENCES {
        let _ = write!(
            text,
            "\n## {}\n\n{}\n\n| key | takes | default | meaning |\n|---|---|---|---|\n",
            verb.name, verb.summary
        );
        for cells in verb.keys {
            let [key, takes, default, meaning] = cells.map(|cell| cell.replace('|', "\\|"));
            let _ = writeln!(text, "| `{key}` | {takes} | {default} | {meaning} |");
        }
        let _ = write!(text, "\n{}\n\n```toml\n{}\n```\n", verb.notes, verb.example.trim());
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_first_example_is_a_plan() {
        let text = super::HEAD.split("```toml").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
        let files = |_: &str| Err("no file".to_owned());
        super::super::Plan::parse("p", "p.toml", text, &files).unwrap();
    }

    #[test]
    fn the_committed_manual_is_the_generated_one() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/dialplans.md");
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(path, super::reference()).unwrap();
        }
        let committed = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            committed == super::reference(),
            "docs/dialplans.md is not what the verbs say; run: UPDATE=1 cargo test --lib dialplan::reference"
        );
    }
}
