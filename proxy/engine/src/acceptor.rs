//! The thread that owns the listeners of all pods and hands accepted sockets to workers in turn.

use crate::{
    error::Error,
    pod::Pod,
    worker::{Entrance, Job, current_thread_runtime},
};
use rustix::net::{SocketFlags, accept_with};
use std::{
    collections::HashMap,
    io,
    net::{TcpListener, TcpStream},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
        mpsc::{SyncSender, sync_channel},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::mpsc,
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

/// Commands come one at a time, from whoever holds the engine's lock.
const COMMANDS: usize = 16;
/// After running out of descriptors or memory; the connection stays in the backlog.
const PAUSE: Duration = Duration::from_millis(50);

/// A pod's three listeners, each with its entrance.
pub type Listeners = [(Entrance, TcpListener); 3];

enum Command {
    Open {
        pod: Arc<Pod>,
        listeners: Listeners,
        done: SyncSender<io::Result<()>>,
    },
    Close {
        pod: Arc<str>,
        done: SyncSender<()>,
    },
    AbortLater {
        pod: CancellationToken,
        after: Duration,
    },
}

/// The acceptor's handle.
#[derive(Debug)]
pub struct Acceptor {
    commands: mpsc::Sender<Command>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Acceptor {
    /// Starts a thread that accepts until `stop`.
    pub fn start(workers: Vec<mpsc::Sender<Job>>, stop: CancellationToken) -> Result<Self, Error> {
        let (commands, queue) = mpsc::channel(COMMANDS);
        let runtime = current_thread_runtime()?;
        let hand_out = Arc::new(HandOut {
            workers,
            next: AtomicUsize::new(0),
        });
        let thread = std::thread::Builder::new()
            .name("weft-acceptor".into())
            .spawn(move || runtime.block_on(run(hand_out, queue, stop)))
            .map_err(Error::Thread)?;
        Ok(Self {
            commands,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Returns once connections are accepted.
    pub fn open(&self, pod: &Arc<Pod>, listeners: Listeners) -> Result<(), Error> {
        let (done, opened) = sync_channel(1);
        self.command(Command::Open {
            pod: pod.clone(),
            listeners,
            done,
        })?;
        let opened = opened.recv().map_err(|_| Error::Closed)?;
        opened.map_err(|cause| Error::Namespace {
            pod: pod.name.clone(),
            cause,
        })
    }

    /// Returns once the pod's listeners are closed.
    pub fn close(&self, pod: &Arc<str>) -> Result<(), Error> {
        let (done, closed) = sync_channel(1);
        self.command(Command::Close { pod: pod.clone(), done })?;
        closed.recv().map_err(|_| Error::Closed)
    }

    /// Aborts a pod's connections after a while.
    pub fn abort_later(&self, pod: &Pod, after: Duration) -> Result<(), Error> {
        self.command(Command::AbortLater {
            pod: pod.aborted.clone(),
            after,
        })
    }

    fn command(&self, command: Command) -> Result<(), Error> {
        self.commands.blocking_send(command).map_err(|_| Error::Closed)
    }

    /// Waits for the thread's end.
    pub fn join(&self) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let _ = thread.join(); // a panic in there has been printed already
        }
    }
}

/// Gives connections to workers in turn.
#[derive(Debug)]
struct HandOut {
    workers: Vec<mpsc::Sender<Job>>,
    next: AtomicUsize,
}

impl HandOut {
    /// Waits while the worker is behind; the connection is closed if it has ended.
    async fn serve(&self, pod: &Arc<Pod>, entrance: Entrance, accepted: TcpStream) {
        let accepted_at = Instant::now();
        let worker = &self.workers[self.next.fetch_add(1, Relaxed) % self.workers.len()];
        let _ = worker
            .send(Job::Serve {
                pod: pod.clone(),
                entrance,
                accepted,
                accepted_at,
            })
            .await;
    }
}

/// The tasks that accept for one pod, and how to end them.
struct Open {
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

async fn run(hand_out: Arc<HandOut>, mut queue: mpsc::Receiver<Command>, stop: CancellationToken) {
    let mut pods: HashMap<Arc<str>, Open> = HashMap::new();
    loop {
        let command = tokio::select! {
            () = stop.cancelled() => return,
            command = queue.recv() => match command {
                Some(command) => command,
                None => return,
            },
        };
        // Whoever waits for an answer may have gone; then it is of no use to anybody.
        match command {
            Command::Open { pod, listeners, done } => {
                let opened = open(&hand_out, &pod, listeners);
                let _ = done.send(opened.map(|open| drop(pods.insert(pod.uid.clone(), open))));
            }
            Command::Close { pod, done } => {
                if let Some(open) = pods.remove(&pod) {
                    open.stop.cancel();
                    open.tasks.join_all().await;
                }
                let _ = done.send(());
            }
            Command::AbortLater { pod, after } => {
                tokio::spawn(async move {
                    tokio::time::sleep(after).await;
                    pod.cancel();
                });
            }
        }
    }
}

fn open(hand_out: &Arc<HandOut>, pod: &Arc<Pod>, listeners: Listeners) -> io::Result<Open> {
    let mut open = Open {
        stop: CancellationToken::new(),
        tasks: JoinSet::new(),
    };
    for (entrance, listener) in listeners {
        let listener = watch(listener)?;
        let (hand_out, pod, stop) = (hand_out.clone(), pod.clone(), open.stop.clone());
        open.tasks
            .spawn(async move { accept(&hand_out, &pod, entrance, &listener, &stop).await });
    }
    Ok(open)
}

/// Not tokio's own listener: it registers every accepted socket here, and a worker would again.
#[allow(unsafe_code)]
fn watch(listener: TcpListener) -> io::Result<AsyncFd<TcpListener>> {
    // SAFETY: a TcpListener owns its descriptor, which stays the same and open until it is dropped.
    Ok(unsafe { AsyncFd::register_with_interest(listener, Interest::READABLE) }?)
}

async fn accept(
    hand_out: &HandOut,
    pod: &Arc<Pod>,
    entrance: Entrance,
    listener: &AsyncFd<TcpListener>,
    stop: &CancellationToken,
) {
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => return take_waiting(hand_out, pod, entrance, listener).await,
            accepted = next(listener) => accepted,
        };
        match accepted {
            Ok(accepted) => hand_out.serve(pod, entrance, accepted).await,
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

/// Serves what waits in a listener's queue: with the listener it would be reset.
async fn take_waiting(hand_out: &HandOut, pod: &Arc<Pod>, entrance: Entrance, listener: &AsyncFd<TcpListener>) {
    while let Ok(accepted) = accept_now(listener.get_ref()) {
        hand_out.serve(pod, entrance, accepted).await;
    }
}

/// The next connection in the queue; WouldBlock when there is none.
fn accept_now(listener: &TcpListener) -> io::Result<TcpStream> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    beyond_the_dead(|| Ok(TcpStream::from(accept_with(listener, flags)?)))
}

/// What `accept` gives once it is done with connections that have ended in the queue.
fn beyond_the_dead<T>(mut accept: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match accept() {
            Err(error) if is_clients(&error) => {}
            accepted => return accepted,
        }
    }
}

async fn next(listener: &AsyncFd<TcpListener>) -> io::Result<TcpStream> {
    loop {
        let mut ready = listener.readable().await?;
        match ready.try_io(|listener| accept_now(listener.get_ref())) {
            Ok(accepted) => return accepted,
            Err(_would_block) => {}
        }
    }
}

/// An error that accept(2) passes on from a connection that has ended in the queue.
fn is_clients(error: &io::Error) -> bool {
    const PASSED_ON: [i32; 8] = [
        libc::ENETDOWN,
        libc::EPROTO,
        libc::ENOPROTOOPT,
        libc::EHOSTDOWN,
        libc::ENONET,
        libc::EHOSTUNREACH,
        libc::ENETUNREACH,
        libc::ECONNABORTED,
    ];
    error.kind() == io::ErrorKind::Interrupted || error.raw_os_error().is_some_and(|code| PASSED_ON.contains(&code))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is accepted of a queue until it is empty, as `take_waiting` does.
    fn taken(queue: &[Result<u8, i32>]) -> (Vec<u8>, Option<i32>) {
        let mut queue = queue.iter().copied();
        let mut accept = || match queue.next() {
            Some(next) => next.map_err(io::Error::from_raw_os_error),
            None => Err(io::ErrorKind::WouldBlock.into()),
        };
        let mut accepted = Vec::new();
        loop {
            match beyond_the_dead(&mut accept) {
                Ok(one) => accepted.push(one),
                Err(error) => return (accepted, error.raw_os_error()),
            }
        }
    }

    #[test]
    fn a_connection_that_ended_in_the_queue_does_not_hide_those_behind_it() {
        let queue = [
            Ok(1),
            Err(libc::ECONNABORTED),
            Err(libc::EHOSTUNREACH),
            Ok(2),
            Err(libc::EINTR),
            Ok(3),
        ];
        assert_eq!(taken(&queue), (vec![1, 2, 3], None));
    }

    #[test]
    fn running_out_of_descriptors_is_no_clients_fault() {
        assert_eq!(taken(&[Ok(1), Err(libc::EMFILE), Ok(2)]), (vec![1], Some(libc::EMFILE)));
    }
}
