//! The least that a durable receiver on this database does: hyper reads a
//! request, redb commits one row of a stored delivery's size, hyper answers. It
//! verifies, parses, orders and logs nothing, serves one sender, and commits on
//! the thread that answers. What it does not reach on a disk, no receiver with
//! this server and this database does.
//!
//! So where a sync takes a tenth of a millisecond, `ack-1` cannot meet its goal:
//! there a redb commit of eight scattered pages takes as long as two appended
//! records, and reading and answering a request as long as half of one.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use redb::{Database, TableDefinition};
use tokio::net::TcpListener;

use crate::deliveries::Receiver;
use crate::disk;
use crate::program::{Program, free_address};

/// The name of this peer.
pub(crate) const NAME: &str = "hyper and redb, one row per request";

const ANSWER: &[u8] = b"stored";

/// What it answers.
pub(crate) const RECEIVER: Receiver = Receiver {
    path: "/",
    queued: ANSWER,
    completed: ANSWER,
};

const TABLE: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("rows");

/// Starts it, with its database in `dir`, as a process of its own.
///
/// # Errors
/// It does not start.
pub(crate) fn start(dir: &Path) -> Result<(Program, SocketAddr)> {
    let address = free_address()?;
    let itself = std::env::current_exe().context("find this program")?;
    let mut command = Command::new(itself);
    command.arg("--least").arg(address.to_string());
    command.current_dir(dir);
    let program = Program::start(&mut command, &dir.join("least.log"), address)?;
    Ok((program, address))
}

/// Serves in the working directory until it is killed.
///
/// # Errors
/// It cannot listen, or has no database.
pub(crate) fn serve(address: SocketAddr) -> Result<()> {
    let database = Database::create("least.redb").context("create least.redb")?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start the server")?;
    runtime.block_on(async {
        let listener = TcpListener::bind(address).await;
        let listener = listener.with_context(|| format!("listen on {address}"))?;
        let mut row = 0;
        loop {
            let (stream, _) = listener.accept().await.context("accept")?;
            stream.set_nodelay(true).context("set TCP_NODELAY")?;
            row = connection(&database, stream, row).await;
        }
    })
}

/// Serves one connection to its end; the number of the next row.
async fn connection(database: &Database, stream: tokio::net::TcpStream, first: u64) -> u64 {
    let next = std::cell::Cell::new(first);
    let service = service_fn(|request: Request<Incoming>| {
        let row = next.replace(next.get() + 1);
        async move {
            let body = request.into_body().collect().await;
            body.context("read a body")?;
            commit(database, row).context("commit")?;
            Ok::<_, anyhow::Error>(Response::new(Full::new(Bytes::from_static(ANSWER))))
        }
    });
    let served = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        eprintln!("a connection failed: {error}");
    }
    next.get()
}

fn commit(database: &Database, row: u64) -> Result<(), redb::Error> {
    let write = database.begin_write()?;
    write
        .open_table(TABLE)?
        .insert(row, disk::RECORD.as_slice())?;
    Ok(write.commit()?)
}
