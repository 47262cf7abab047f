//! A new version of a flow while a run of the old one is in progress.
//!
//! ```text
//! cargo run --example upgrade
//! ```
//!
//! The program starts itself three times on one database:
//!
//! 1. with version 1, and dies half-way through a run;
//! 2. with version 2 alone: the run waits, and says that its code is missing;
//! 3. with both: the run ends with the code that it began with, and a new run has the new code.

use std::{
    env::temp_dir,
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use segue::{Context, Engine, Failure, Flow, id::RunId};

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Whether this process dies in the middle of the run.
struct Fate {
    dies: bool,
}

/// The flow as it was: a greeting in two steps.
fn version_1() -> Flow<String, String> {
    let mut draft = Flow::new("greet");
    let input = draft.input::<String>();
    let name = draft.code("name", input, async |_, name: String| Ok(name.to_uppercase()));
    let hello = draft.code("hello", name, greet);
    draft.returns(input, hello)
}

async fn greet(context: Context, name: String) -> Result<String, Failure> {
    match context.host::<Fate>()?.dies {
        true => std::process::abort(),
        false => Ok(format!("HELLO {name}, says version 1")),
    }
}

/// The flow as it is now: it has other steps, and a step of the same name that does something
/// else.
fn version_2() -> Flow<String, String> {
    let mut draft = Flow::new("greet");
    draft.version(2);
    let input = draft.input::<String>();
    let polite = draft.code("polite", input, async |_, name: String| Ok(format!("dear {name}")));
    let hello = draft
        .code("hello", polite, async |_, name: String| Ok(format!("Hello {name}, says version 2")));
    draft.returns(input, hello)
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match arguments[..] {
        [] => parent(),
        [file, run, role] => child(Path::new(file), run, role).await,
        _ => Err("this example takes no arguments".into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("upgrade: {error}");
            ExitCode::FAILURE
        }
    }
}

fn parent() -> Outcome<()> {
    let run = RunId::new();
    let folder = temp_dir().join(format!("segue-upgrade-{run}"));
    fs::create_dir_all(&folder)?;
    let start = |role: &str| -> Outcome<()> {
        let file = folder.join("work.db");
        let mut command = Command::new(std::env::current_exe()?);
        let status = command.arg(file).arg(run.to_string()).arg(role).status()?;
        println!("  the process ended with: {status}");
        Ok(())
    };
    println!("version 1:");
    start("old")?;
    println!("version 2 alone:");
    start("new")?;
    println!("both, side by side:");
    start("both")?;
    fs::remove_dir_all(folder)?;
    Ok(())
}

async fn child(file: &Path, run: &str, role: &str) -> Outcome<()> {
    let run: RunId = run.parse()?;
    let builder = Engine::sqlite(PathBuf::from(file)).host(Fate { dies: role == "old" });
    let (old, new) = (version_1(), version_2());
    match role {
        "old" => {
            let engine = builder.flow(&old).start().await?;
            println!("  it dies in the step `hello`");
            engine.launch(&old, "Ada".into()).id(run).await?.output().await?;
        }
        "new" => {
            let engine = builder.flow(&new).start().await?;
            println!("  the old run waits for: {}", engine.run(run).why().await?);
            let fresh = engine.launch(&new, "Bob".into()).await?;
            println!("  a new run returned: {}", fresh.output().await?);
            engine.shutdown().await?;
        }
        _ => {
            let engine = builder.flow(&old).flow(&new).start().await?;
            println!("  the old run returned: {}", engine.run_of(&old, run).output().await?);
            let fresh = engine.launch(&new, "Cid".into()).await?;
            println!("  a new run returned: {}", fresh.output().await?);
            engine.shutdown().await?;
        }
    }
    Ok(())
}
