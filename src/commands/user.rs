//! `callahead user add`: the people who sign in.

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use jiff::Timestamp;

use super::{Places, load_config, runtime};
use crate::pii::Secret;
use crate::store::{self, Role, Store};

/// The people who sign in.
#[derive(Debug, Subcommand)]
pub enum User {
    /// Add a person; a password is made up and printed once unless one is given on standard input.
    Add(Add),
}

/// Arguments of `user add`.
#[derive(Debug, Args)]
pub struct Add {
    /// The name they sign in with.
    username: String,

    /// The name that people read; without it, the username.
    #[arg(long)]
    name: Option<String>,

    /// agent (a driver, sees own deliveries), dispatcher or admin.
    #[arg(long, default_value = "agent")]
    role: Role,

    /// Read the password from the first line of standard input.
    #[arg(long)]
    password_stdin: bool,
}

impl User {
    /// Runs it.
    ///
    /// # Errors
    /// The name is taken, the password too short, or the database cannot be opened.
    pub fn run(self, places: &Places) -> Result<()> {
        let Self::Add(add) = self;
        let given = add.password_stdin.then(read_password).transpose()?;
        let made_up = given.is_none();
        let password = given.map_or_else(store::secret::random_password, Ok)?;
        runtime()?.block_on(async {
            let store = open_store(places).await?;
            let new = store::users::NewUser {
                username: add.username.clone(),
                display_name: add.name.clone().unwrap_or_else(|| add.username.clone()),
                role: add.role,
                password: password.clone(),
            };
            store::users::add(&store, Timestamp::now(), &new).await?;
            anyhow::Ok(())
        })?;
        println!("{} may now sign in as {}", add.username, add.role);
        if made_up {
            println!("password (shown once): {}", password.reveal());
        }
        Ok(())
    }
}

/// Opens the database of the data folder, making the folder when it is missing.
pub(super) async fn open_store(places: &Places) -> Result<Store> {
    let folder = load_config(places)?.data;
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make the data folder {}", folder.display()))?;
    let path = folder.join("callahead.db");
    Store::open(&path).await.with_context(|| format!("cannot open the database {}", path.display()))
}

fn read_password() -> Result<Secret> {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).context("cannot read the password from standard input")?;
    Ok(Secret::new(line.trim_end_matches(['\r', '\n'])))
}
