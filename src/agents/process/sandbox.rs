//! What a program may touch, kept by the kernel.

use std::{fmt, io, path::PathBuf};

use landlock::{
    ABI, Access, AccessFs, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetStatus, Scope,
};

/// What a program may touch: it may read everything, and write only where it is said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// Files and folders, with all that is below them, that may be changed.
    pub writable: Vec<PathBuf>,
}

/// What keeps a program to its [`Rules`]. It fails closed: where it can't, nothing is started.
pub trait Sandbox: fmt::Debug + Send + Sync + 'static {
    /// Confines the thread that calls this, for good, and whatever it starts from then on.
    ///
    /// # Errors
    /// When the system can't do it, or a path is not there.
    fn confine(&self, rules: &Rules) -> io::Result<()>;
}

/// Landlock, of Linux 6.2 or newer. It keeps contents, names, links and sizes as they are; a
/// program may still change modes, times and owners of files that belong to its user, which is for
/// a comparison afterwards to find.
#[derive(Clone, Copy, Debug, Default)]
pub struct Landlock;

/// Truncating is denied from here on.
const NEEDED: ABI = ABI::V3;

impl Sandbox for Landlock {
    fn confine(&self, rules: &Rules) -> io::Result<()> {
        let all = AccessFs::from_all(NEEDED);
        let writes = AccessFs::from_write(NEEDED);
        let ruleset = Ruleset::default()
            .set_compatibility(CompatLevel::HardRequirement)
            .handle_access(writes)
            .map_err(unable)?
            // Where the kernel knows it: no signals to what is outside.
            .set_compatibility(CompatLevel::BestEffort)
            .scope(Scope::Signal)
            .map_err(unable)?;
        let mut ruleset = ruleset.create().map_err(unable)?;
        for path in &rules.writable {
            let opened = PathFd::new(path).map_err(|error| {
                io::Error::other(format!("`{}` can't be made writable: {error}", path.display()))
            })?;
            let allowed = if path.is_dir() { all } else { AccessFs::from_file(NEEDED) };
            ruleset =
                ruleset.add_rule(PathBeneath::new(opened, allowed & writes)).map_err(unable)?;
        }
        let status = ruleset.restrict_self().map_err(unable)?;
        match status.ruleset {
            RulesetStatus::NotEnforced => Err(unable("the kernel enforces nothing")),
            RulesetStatus::FullyEnforced | RulesetStatus::PartiallyEnforced => Ok(()),
        }
    }
}

fn unable(error: impl fmt::Display) -> io::Error {
    io::Error::new(
        io::ErrorKind::Unsupported,
        format!("this kernel can't keep a program from writing (Landlock, Linux 6.2): {error}"),
    )
}
