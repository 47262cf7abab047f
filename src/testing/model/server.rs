//! The server: a socket, its connections, and what came over them.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
};

use super::{Record, Script, Usage, http::Service, record::Log};

/// A scripted model behind a port of the loopback address.
///
/// It runs on the runtime that it was started on. Dropping it closes the port and all
/// connections, also in the middle of an answer.
#[derive(Debug)]
pub struct ModelServer {
    address: SocketAddr,
    log: Arc<Log>,
    accepting: JoinHandle<()>,
}

impl ModelServer {
    /// Listens on a port of the system's choice.
    ///
    /// # Errors
    /// When there is no port to listen on.
    pub async fn start(script: Script) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let (address, log) = (listener.local_addr()?, Arc::new(Log::default()));
        let service = Arc::new(Service::new(script, log.clone()));
        let accepting = tokio::spawn(accept(listener, service));
        Ok(Self { address, log, accepting })
    }

    /// Where it is: `http://127.0.0.1:PORT`. OpenAI's clients want `/v1` behind it.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Its port.
    pub const fn port(&self) -> u16 {
        self.address.port()
    }

    /// All requests until now, oldest first.
    pub fn records(&self) -> Vec<Record> {
        self.log.records().clone()
    }

    /// How often the model was asked.
    pub fn asked(&self) -> usize {
        self.log.records().iter().filter(|record| record.ask.is_some()).count()
    }

    /// The sum of what was billed: of all answers that the client was told to their end.
    pub fn billed(&self) -> Usage {
        let mut sum = Usage::default();
        for usage in self.log.records().iter().filter(|record| record.is_billed()) {
            sum += usage.usage.unwrap_or_default();
        }
        sum
    }

    /// Waits until the records are as `is_so` wants them. Without a limit: give it one.
    pub async fn until(&self, is_so: impl Fn(&[Record]) -> bool) {
        let mut changes = self.log.changes();
        loop {
            changes.mark_unchanged();
            if is_so(&self.log.records()) {
                return;
            }
            // The log is ours, so the channel is open as long as we are.
            let _ = changes.changed().await;
        }
    }
}

impl Drop for ModelServer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Accepts until it is dropped, and its connections with it.
async fn accept(listener: TcpListener, service: Arc<Service>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(serve(stream, service.clone()));
                }
                // As where the process has no more descriptors: it will not be better at once.
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve(stream: TcpStream, service: Arc<Service>) {
    // Events are to leave as they are written.
    let _ = stream.set_nodelay(true);
    let answer = service_fn(move |request| {
        let service = service.clone();
        async move { service.answer(request).await }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).half_close(false);
    // A connection that breaks is the client's business: its request says that it has left.
    let _ = http.serve_connection(TokioIo::new(stream), answer).await;
}
