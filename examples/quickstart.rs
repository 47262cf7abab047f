//! A first flow, from end to end.

use segue::{Engine, Flow};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Greet {
    who: String,
}

#[tokio::main]
async fn main() -> segue::Result<()> {
    let mut draft = Flow::new("greet");
    let input = draft.input::<Greet>();
    let name = draft.code("name", input, async |_, greet| Ok(greet.who.trim().to_owned()));
    let hello = draft.code("hello", name, async |_, name| Ok(format!("hello {name}")));
    let greet = draft.returns(input, hello);

    let file = std::env::args().nth(1).unwrap_or_else(|| "work.db".into());
    let engine = Engine::sqlite(file).flow(&greet).start().await?;
    let run = engine.launch(&greet, Greet { who: " Ada ".into() }).await?;
    println!("{}", run.output().await?);
    engine.shutdown().await
}
