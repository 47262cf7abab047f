//! The schema of an answer, as a file.

use std::{fs, io, path::PathBuf};

use uuid::Uuid;

use super::{Recipe, Schema};
use crate::{agents::Turn, failure::Failure};

/// A file that is gone when this is.
#[derive(Debug)]
pub(super) struct SchemaFile(pub PathBuf);

impl SchemaFile {
    /// The schema of a turn, where the program wants it in a file.
    pub fn of(recipe: &Recipe, turn: &Turn) -> Result<Option<Self>, Failure> {
        let (Schema::File(_), Some(schema)) = (recipe.flags.schema, &turn.schema) else {
            return Ok(None);
        };
        let path = std::env::temp_dir().join(format!("segue-schema-{}.json", Uuid::now_v7()));
        let file = Self(path);
        file.write(schema.as_str())?;
        Ok(Some(file))
    }

    fn write(&self, schema: &str) -> io::Result<()> {
        // A name that is new: nobody's link is followed.
        let mut file = fs::File::create_new(&self.0)?;
        io::Write::write_all(&mut file, schema.as_bytes())
    }
}

impl Drop for SchemaFile {
    fn drop(&mut self) {
        // Where it was never made, there is nothing to remove.
        let _ = fs::remove_file(&self.0);
    }
}
