//! Threads that serve connections: one a core, each with a runtime of its own.
//!
//! A connection stays with its thread, and so do its calls. What a call costs then is little more than what it does: no other thread is
//! woken for it, and answers that are ready together go out in one write. (With two threads that share their work a bare call takes
//! 1.7 times the CPU time.) What takes long runs elsewhere.

use std::io;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt as _};

/// Connections that wait for their thread.
const WAITING: usize = 64;
/// How long nothing is accepted after that has failed: there may be no more files to open.
const PAUSE: Duration = Duration::from_millis(10);

/// Serves connections as they come, until there are no more.
pub(crate) type Connections = std::pin::Pin<Box<dyn Stream<Item = io::Result<TcpStream>> + Send>>;

/// A thread that serves connections.
pub(crate) struct Worker<E> {
    connections: mpsc::Sender<std::net::TcpStream>,
    ended: oneshot::Receiver<Result<(), E>>,
}

impl<E: From<io::Error> + Send + 'static> Worker<E> {
    /// Starts a thread; what `serve` makes of its connections runs there, until that ends.
    pub(crate) fn start<F>(number: usize, serve: impl FnOnce(Connections) -> F + Send + 'static) -> io::Result<Self>
    where
        F: Future<Output = Result<(), E>>,
    {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (connections, waiting) = mpsc::channel(WAITING);
        let (end, ended) = oneshot::channel();
        std::thread::Builder::new().name(format!("connections-{number}")).spawn(move || {
            let streams = ReceiverStream::new(waiting).map(TcpStream::from_std);
            // Nobody waits for the result when the process ends at once.
            let _ = end.send(runtime.block_on(serve(Box::pin(streams))));
            // A call may have left something to be done on a thread of its own.
            runtime.shutdown_background();
        })?;
        Ok(Self { connections, ended })
    }

    /// Resolves when all its connections have ended.
    pub(crate) async fn ended(self) -> Result<(), E> {
        drop(self.connections);
        let died = || io::Error::other("a thread that serves connections ended early");
        self.ended.await.unwrap_or_else(|_| Err(died().into()))
    }
}

/// Gives each connection to the next worker in turn, for ever.
pub(crate) async fn accept<E>(listener: &TcpListener, workers: &[Worker<E>]) {
    let mut turn = 0;
    loop {
        let accepted = async {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            stream.into_std()
        };
        match accepted.await {
            Ok(stream) => {
                if let Some(worker) = workers.get(turn % workers.len()) {
                    // A worker that is gone says so when it is asked how it ended.
                    let _ = worker.connections.send(stream).await;
                }
                turn += 1;
            }
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}
