//! `callahead key add`: keys for systems that use the API.

use anyhow::Result;
use clap::{Args, Subcommand};
use jiff::Timestamp;

use super::user::open_store;
use super::{Places, runtime};
use crate::store::{Role, api_keys};

/// Keys for systems that use the API.
#[derive(Debug, Args)]
pub struct Key {
    #[command(subcommand)]
    command: KeyCommand,
}

#[derive(Debug, Subcommand)]
enum KeyCommand {
    /// Make a key and print it once.
    Add {
        /// What the key is for, such as order-system.
        name: String,

        /// dispatcher or admin.
        #[arg(long, default_value = "dispatcher")]
        role: Role,
    },
}

impl Key {
    /// Runs it.
    ///
    /// # Errors
    /// The role cannot have a key, or the database cannot be opened.
    pub fn run(self, places: &Places) -> Result<()> {
        let KeyCommand::Add { name, role } = self.command;
        let key = runtime()?.block_on(async {
            let store = open_store(places).await?;
            let (_, key) = api_keys::add(&store, Timestamp::now(), &name, role).await?;
            anyhow::Ok(key)
        })?;
        println!("key for {name} (shown once), sent as `Authorization: Bearer KEY`:\n{}", key.reveal());
        Ok(())
    }
}
