//! Standard input and output, by lines, and what is no line.

use std::{io, sync::Arc};

use futures::{Sink, Stream, sink, stream};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Stdout},
    sync::Mutex,
};

/// The standard output: of the protocol, and of whatever else is said.
#[derive(Clone, Debug)]
pub struct Output(Arc<Mutex<Stdout>>);

impl Default for Output {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(tokio::io::stdout())))
    }
}

impl Output {
    /// Says something that need not be a message.
    pub async fn raw(&self, text: &str) {
        let mut stdout = self.0.lock().await;
        stdout.write_all(text.as_bytes()).await.expect("somebody reads");
        stdout.flush().await.expect("somebody reads");
    }

    /// Takes the lines of the protocol.
    pub fn sink(&self) -> impl Sink<String, Error = io::Error> + Send + 'static {
        sink::unfold(self.clone(), async |output, line: String| {
            output.raw(&format!("{line}\n")).await;
            Ok(output)
        })
    }
}

/// The lines of the standard input.
pub fn input() -> impl Stream<Item = io::Result<String>> + Send + 'static {
    let lines = BufReader::new(tokio::io::stdin()).lines();
    stream::unfold(lines, async |mut lines| {
        let line = lines.next_line().await.transpose()?;
        Some((line, lines))
    })
}
