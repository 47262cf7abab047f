//! Runs of 10,000 steps through an engine: they complete, the memory and the work that a step
//! takes are those of a step of a run of 1,000, and another run is not held up meanwhile.
//!
//! A process does one run and counts what it allocates. That stands for its work as well: rows
//! that are loaded, planned and saved are allocated.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    io::Write,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use async_trait::async_trait;
use segue::{
    Context, Engine, Failure, Flow, ItemPolicy, Result,
    backend::{
        Backend,
        sqlite::{Durability, Options},
    },
    clock::Clock,
    id::{InstanceId, RunId},
    model::{
        Batch, Command, Committed, Cursor, Due, Entry, Needs, Page, Prune, Pruned, Query, Rows,
        RunState, Stats, StepState, Stream,
    },
};

use super::{
    child::{Child, say, told},
    place::{audited, eventually, run},
};

const WORKERS: u32 = 8;
/// Steps of the other run, one behind the other.
const OTHER: u32 = 20;

struct Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);
static TAKEN: AtomicUsize = AtomicUsize::new(0);

#[global_allocator]
static COUNTING: Counting = Counting;

#[allow(unsafe_code, reason = "an allocator is unsafe to implement")]
// SAFETY: whatever is asked is passed on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let held = HELD.fetch_add(layout.size(), SeqCst) + layout.size();
        MOST.fetch_max(held, SeqCst);
        TAKEN.fetch_add(layout.size(), SeqCst);
        // SAFETY: as the caller has promised.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), SeqCst);
        // SAFETY: as the caller has promised.
        unsafe { System.dealloc(place, layout) }
    }
}

fn chain(name: &str, steps: u32, first: Result<u32, Failure>) -> Flow<u32, u32> {
    let mut draft = Flow::new(name);
    let input = draft.input::<u32>();
    let first = Arc::new(std::sync::Mutex::new(Some(first)));
    let mut last = draft.code("0", input, move |_: Context, _: u32| {
        let first = first.lock().expect("a result").take();
        async move { first.expect("it is executed once") }
    });
    for n in 1..steps {
        last = draft.code(n.to_string(), last, async |_, n: u32| Ok(n));
    }
    draft.returns(input, last)
}

fn fan(width: u32) -> Flow<u32, u32> {
    let mut draft = Flow::new("fan");
    let input = draft.input::<u32>();
    let root = draft.code("root", input, async |_, n: u32| Ok(n));
    let one = |n: u32| draft.code(n.to_string(), root, async |_, n: u32| Ok(n));
    let wide: Vec<_> = (0..width).map(one).collect();
    let sum = draft.code("sum", wide, async |_, all: Vec<u32>| Ok(all.iter().sum()));
    draft.returns(input, sum)
}

fn map(width: u32) -> Flow<u32, u32> {
    let mut draft = Flow::new("map");
    let input = draft.input::<u32>();
    let all = draft.code("all", input, move |_: Context, _: u32| async move {
        Ok(vec![1_u32; width as usize])
    });
    let each = draft.map("each", all, ItemPolicy::All, async |_, n: u32| Ok(n));
    let sum = draft.code("sum", each, async |_, all: Vec<u32>| Ok(all.iter().sum()));
    draft.returns(input, sum)
}

fn flow(shape: &str, steps: u32) -> Flow<u32, u32> {
    match shape {
        "chain" => chain("chain", steps, Ok(1)),
        "cascade" => chain("cascade", steps, Err(Failure::fatal("the first fails"))),
        "fan" => fan(steps),
        _ => map(steps),
    }
}

/// A backend that counts commits, and the steps of one run that are handed in.
#[derive(Debug)]
struct Counted {
    inner: Arc<dyn Backend>,
    commits: AtomicU64,
    of: RunId,
    settled: AtomicU64,
}

#[async_trait]
impl Backend for Counted {
    fn clock(&self) -> Clock {
        self.inner.clock()
    }

    async fn migrate(&self) -> Result<()> {
        self.inner.migrate().await
    }

    async fn commit(&self, batch: Batch) -> Result<Committed> {
        let own = |command: &&Command| match command {
            Command::Settle(settle) => settle.held.step.is_some_and(|(run, _)| run == self.of),
            _ => false,
        };
        let settled = batch.commands.iter().filter(own).count() as u64;
        let committed = self.inner.commit(batch).await?;
        self.settled.fetch_add(settled, SeqCst);
        let counts = !committed.receipts.is_empty() || !committed.claimed.is_empty();
        self.commits.fetch_add(u64::from(counts), SeqCst);
        Ok(committed)
    }

    async fn beat(&self, instance: InstanceId) -> Result<bool> {
        self.inner.beat(instance).await
    }

    async fn due(&self, of: InstanceId, limit: u32) -> Result<Due> {
        self.inner.due(of, limit).await
    }

    async fn read(&self, needs: &Needs) -> Result<Rows> {
        self.inner.read(needs).await
    }

    async fn list(&self, query: &Query) -> Result<Page> {
        self.inner.list(query).await
    }

    async fn stats(&self) -> Result<Stats> {
        self.inner.stats().await
    }

    async fn tail(&self, stream: Stream, after: Cursor, limit: u32) -> Result<Vec<Entry>> {
        self.inner.tail(stream, after, limit).await
    }

    async fn prune(&self, prune: &Prune) -> Result<Pruned> {
        self.inner.prune(prune).await
    }

    async fn wait(&self, limit: Duration) -> bool {
        self.inner.wait(limit).await
    }

    fn wake(&self) {
        self.inner.wake();
    }
}

/// A fresh database: on the server with this address, or a file.
async fn database(folder: &Path, server: &str) -> Arc<dyn Backend> {
    #[cfg(feature = "postgres")]
    if !server.is_empty() {
        use segue::backend::postgres;
        let options = postgres::Options::new(server).schema(super::cluster::schema());
        return Arc::new(options.connect().await.expect("a server"));
    }
    assert_eq!(server, "");
    // No process dies, and no disk is waited for.
    let options = Options::new(folder.join("large.db")).durability(Durability::Normal);
    Arc::new(options.open().expect("a file"))
}

/// What a child does: it is told of a shape, a number of steps and a server, and says what the
/// run took.
pub async fn work(folder: &Path) {
    say("ready");
    let line = told().await;
    let mut words = line.trim().splitn(3, ' ');
    let mut word = || words.next().unwrap_or_default().to_owned();
    let (shape, steps, server) = (word(), word().parse().expect("a number"), word());
    let inner = database(folder, &server).await;
    let (held, taken) = (HELD.load(SeqCst), TAKEN.load(SeqCst));
    MOST.store(held, SeqCst);
    let (commits, settled, of) = (AtomicU64::new(0), AtomicU64::new(0), RunId::new());
    let backend = Arc::new(Counted { inner, commits, of, settled });
    let (large, other) = (flow(&shape, steps), chain("other", OTHER, Ok(1)));
    let builder = Engine::on(backend.clone()).flow(&large).flow(&other).concurrency(WORKERS);
    let engine = builder.start().await.expect("an engine");
    let began = engine.launch(&large, 1).id(of).await.expect("a run");
    eventually("it has begun", async || backend.settled.load(SeqCst) > 0).await;
    let beside = engine.launch(&other, 1).await.expect("another run");
    assert_eq!(beside.ended().await.expect("its end"), RunState::Completed);
    let between = backend.settled.load(SeqCst);
    let state = began.ended().await.expect("its end");
    let (commits, most) = (backend.commits.load(SeqCst), MOST.load(SeqCst) - held);
    let taken = TAKEN.load(SeqCst) - taken;
    ended_well(&shape, state, &began.steps().await.expect("its steps"));
    audited(&engine).await;
    engine.shutdown().await.expect("an orderly end");
    say(&format!("took {most} {taken} {commits} {between}"));
}

fn ended_well(shape: &str, state: RunState, steps: &[segue::model::Step]) {
    let (run, rest) = match shape {
        "cascade" => (RunState::Failed, StepState::Skipped),
        _ => (RunState::Completed, StepState::Completed),
    };
    assert_eq!(state, run);
    assert!(steps[1..].iter().all(|step| step.state == rest));
}

/// What a run took.
#[derive(Debug)]
struct Took {
    /// The most bytes that were held at once, above those from before.
    most: u64,
    /// All bytes that were allocated.
    taken: u64,
    /// Commits that did something.
    commits: u64,
    /// How many of its steps had been handed in when the other run had ended.
    between: u64,
}

fn measured(shape: &str, steps: u32, server: &str) -> Took {
    let folder = tempfile::tempdir().expect("a folder");
    let mut child = Child::start(folder.path(), "large");
    let stdin = child.stdin.as_mut().expect("a pipe");
    writeln!(stdin, "{shape} {steps} {server}").expect("a child that lives");
    let line = child.hear("took ");
    child.finish();
    println!("{shape} of {steps} {line}");
    let (_, numbers) = line.split_once("took ").expect("numbers");
    let mut numbers = numbers.split_whitespace().map(|number| number.parse().expect("a number"));
    let mut next = || numbers.next().expect("another");
    Took { most: next(), taken: next(), commits: next(), between: next() }
}

fn grows_with_its_steps(shape: &str, server: &str) {
    let [small, large] = [1_000, 10_000].map(|steps| measured(shape, steps, server));
    assert!(large.most <= 20 * small.most, "bytes at once: {small:?} {large:?}");
    assert!(large.taken <= 20 * small.taken, "bytes in all: {small:?} {large:?}");
    // The launches, the first claims, the ends of the map's own steps.
    assert!(large.commits <= 10_000 + u64::from(OTHER) + 100, "{large:?}");
    // While a step of the other run is handed in and the next one claimed, each worker ends a few.
    let few = u64::from(OTHER * WORKERS * 8);
    assert!(shape == "cascade" || large.between <= few, "the other run was held up: {large:?}");
}

macro_rules! shapes {
    ($server:expr) => {
        #[test]
        fn a_chain_of_10_000_grows_with_its_steps_and_holds_nobody_up() {
            super::run(async { super::grows_with_its_steps("chain", $server) });
        }

        #[test]
        fn a_fan_out_and_fan_in_of_10_000_grows_with_its_steps_and_holds_nobody_up() {
            super::run(async { super::grows_with_its_steps("fan", $server) });
        }

        #[test]
        fn a_skip_cascade_of_10_000_grows_with_its_steps() {
            super::run(async { super::grows_with_its_steps("cascade", $server) });
        }

        #[test]
        fn a_map_of_10_000_grows_with_its_steps_and_holds_nobody_up() {
            super::run(async { super::grows_with_its_steps("map", $server) });
        }
    };
}

mod sqlite {
    shapes!("");
}

#[cfg(feature = "postgres")]
mod postgres {
    shapes!(&super::super::cluster::url());
}
