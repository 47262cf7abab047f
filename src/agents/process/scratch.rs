//! Folders for what is temporary.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use uuid::Uuid;

/// A folder for what is temporary, that nobody else uses. It goes with this.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    /// A new one, where this process keeps what is temporary.
    ///
    /// # Errors
    /// When it can't be made.
    pub fn new() -> io::Result<Self> {
        let folder = std::env::temp_dir().join(format!("segue-scratch-{}", Uuid::now_v7()));
        fs::create_dir(&folder)?;
        Ok(Self(folder))
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What can't be removed is in the folder for what is temporary.
        let _ = fs::remove_dir_all(&self.0);
    }
}
