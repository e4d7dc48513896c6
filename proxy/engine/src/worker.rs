//! Worker threads: each has its own runtime, its own tunnels and its own counters.
//!
//! A connection is handed to one worker and stays there; tasks of a worker share by `Rc`.

use crate::{
    connection::Ledger,
    crowded,
    description::Direction,
    docket::Docket,
    error::Error,
    inbound, outbound, plain,
    pod::{Pod, Shared},
    tunnel::Pool,
};
use std::{
    rc::Rc,
    sync::{Arc, Mutex, PoisonError},
    thread::JoinHandle,
    time::{Duration, Instant},
};
use tokio::{net::TcpStream, sync::mpsc, task::LocalSet};
use tokio_util::sync::CancellationToken;

/// Jobs that may wait for a worker; beyond, connections wait in the listeners' backlogs.
const JOBS: usize = 1024;
const SWEEP_INTERVAL: Duration = Duration::from_secs(10);
/// Milliseconds that connections have to end in when the engine is closed.
const FAREWELL_STEPS: usize = 1000;

/// The listener that a connection came in by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entrance {
    Outbound,
    Plain,
    Hbone,
}

impl Entrance {
    fn direction(self) -> Direction {
        match self {
            Self::Outbound => Direction::Outbound,
            Self::Plain | Self::Hbone => Direction::Inbound,
        }
    }
}

/// What a worker is asked to do.
#[derive(Debug)]
pub enum Job {
    Serve {
        pod: Arc<Pod>,
        entrance: Entrance,
        accepted: std::net::TcpStream,
        accepted_at: Instant,
    },
    /// The pod is draining.
    Forget { pod: Arc<str> },
}

/// What the tasks of one worker share.
pub struct Context {
    pub shared: Arc<Shared>,
    pub ledger: Arc<Ledger>,
    pub pool: Rc<Pool>,
    pub docket: Rc<Docket>,
}

/// A worker's handle.
#[derive(Debug)]
pub struct Worker {
    pub jobs: mpsc::Sender<Job>,
    pub ledger: Arc<Ledger>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Worker {
    /// Starts a thread that works until `stop`.
    pub fn start(n: usize, shared: Arc<Shared>, ledger: Ledger, stop: CancellationToken) -> Result<Self, Error> {
        let (jobs, queue) = mpsc::channel(JOBS);
        let ledger = Arc::new(ledger);
        let book = ledger.clone();
        let runtime = current_thread_runtime()?;
        let thread = std::thread::Builder::new()
            .name(format!("weft-worker-{n}"))
            .spawn(move || {
                let context = Rc::new(Context {
                    shared,
                    ledger: book,
                    pool: Rc::default(),
                    docket: Rc::default(),
                });
                LocalSet::new().block_on(&runtime, work(context, queue, stop));
            })
            .map_err(Error::Thread)?;
        Ok(Self {
            jobs,
            ledger,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Waits for the thread's end.
    pub fn join(&self) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let _ = thread.join(); // a panic in there has been printed already
        }
    }
}

/// A runtime for one of the engine's threads.
pub fn current_thread_runtime() -> Result<tokio::runtime::Runtime, Error> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Error::Thread)
}

async fn work(context: Rc<Context>, mut queue: mpsc::Receiver<Job>, stop: CancellationToken) {
    let mut sweep = tokio::time::interval(SWEEP_INTERVAL);
    let mut applied = context.shared.applied.subscribe();
    loop {
        tokio::select! {
            () = stop.cancelled() => return farewell(&context).await,
            _ = sweep.tick() => context.pool.sweep(),
            Ok(()) = applied.changed() => context.docket.review(&context.shared.store.load(), &context.ledger.tally),
            job = queue.recv() => match job {
                Some(job) => begin(&context, job),
                None => return,
            },
        }
    }
}

/// Lets connections, which have been aborted before, reset what they hold.
async fn farewell(context: &Context) {
    for _ in 0..FAREWELL_STEPS {
        if context.ledger.is_empty() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

fn begin(context: &Rc<Context>, job: Job) {
    let (pod, entrance, accepted, accepted_at) = match job {
        Job::Serve {
            pod,
            entrance,
            accepted,
            accepted_at,
        } => (pod, entrance, accepted, accepted_at),
        Job::Forget { pod } => return context.pool.forget(&pod),
    };
    // A socket that cannot be registered is closed, which its peer sees.
    let Ok(accepted) = TcpStream::from_std(accepted) else {
        return;
    };
    let place = match pod.share.take() {
        Ok(place) => place,
        Err(reason) => return crowded::refuse(context, &pod, entrance, &accepted, reason),
    };
    let (context, ledger) = (context.clone(), context.ledger.clone());
    tokio::task::spawn_local(async move {
        let _place = place;
        let _open = ledger.sockets.hold(entrance.direction());
        match entrance {
            Entrance::Outbound => outbound::serve(context, pod, accepted, accepted_at).await,
            Entrance::Plain => plain::serve(context, pod, accepted).await,
            Entrance::Hbone => inbound::serve(context, pod, accepted).await,
        }
    });
}
