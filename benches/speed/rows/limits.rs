//! What bare connections reach where several processes take part: the limits of the rows beside.

use std::{
    fs::{File, OpenOptions},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use memmap2::MmapRaw;
use rusqlite::{Connection, ffi};
use rustix::thread::futex;

use super::{
    super::{
        Result,
        place::{Address, Kind, Place},
        ratio::{Bench, Rate},
        raw::{self, Queue},
        table::{Row, Target, quantile, sorted},
    },
    child::{Player, say},
    waking::monotonic,
};

/// Four processes that insert 16 tasks a transaction in turns, against one that inserts 64.
pub fn enqueue(bench: &mut Bench) -> Result<()> {
    let named = |what| format!("sqlite: raw from 4 processes of 16, {what}, against 1 of 64");
    let engine = "sqlite: enqueue from 4 processes of 16, against 1 of 64";
    bench.table.limit(engine, &named("syncs are shared"));
    for (what, part) in [("each syncs", "raw-full"), ("syncs are shared", "raw-shared")] {
        let row = named(what);
        if !bench.wants(&row) {
            continue;
        }
        let place = Place::new(&Arc::clone(&bench.runtime), Kind::Sqlite)?;
        let start = |part| Player::start(Kind::Sqlite, part, &place.address);
        let mut four = (0..4).map(|_| start(part)).collect::<Result<Vec<_>>>()?;
        let mut one = start("raw-full")?;
        let each = bench.size(120);
        bench.ratio(&row, Target::Shown, || {
            let many = Rate::time(64 * each, || {
                four.iter_mut().try_for_each(|player| player.order(&format!("16 {each}")))?;
                four.iter_mut().try_for_each(|player| player.wait().map(drop))
            })?;
            let alone = Rate::time(64 * each, || {
                one.order(&format!("64 {each}"))?;
                one.wait().map(drop)
            })?;
            Ok((many, alone))
        })?;
        four.into_iter().chain([one]).try_for_each(Player::end)?;
    }
    Ok(())
}

/// From the commit of a task to the commit that claims it, made by a thread that waits for
/// nothing else.
pub fn pickup(bench: &mut Bench) -> Result<()> {
    let row = "sqlite: raw pickup when idle, other process";
    if !bench.wants(row) {
        return Ok(());
    }
    let place = Place::new(&Arc::clone(&bench.runtime), Kind::Sqlite)?;
    let mut player = Player::start(Kind::Sqlite, "raw-pickup", &place.address)?;
    let (beside, mut queue) = (Beside::open(&place.address)?, raw::own(&place)?);
    let mut waits = Vec::new();
    for _ in 0..bench.size(800) {
        player.order("1")?;
        // It waits by then.
        std::thread::sleep(Duration::from_millis(4));
        queue.enqueue(1)?;
        let committed = monotonic();
        beside.ring();
        let claimed: i64 = player.wait()?.parse()?;
        waits.push((claimed - committed) as f64 / 1e6);
    }
    player.end()?;
    let waits = sorted(waits);
    for (what, share) in [("p50", 0.5), ("p99", 0.99)] {
        let (row, detail) = (format!("{row}, {what}, ms"), format!("{} tasks", waits.len()));
        let value = quantile(&waits, share);
        bench.table.add(Row::figure(&row, Target::Shown, value, detail));
    }
    Ok(())
}

/// What a process does that was started for one of these rows.
pub fn play(place: &Place, part: &str) -> Result<()> {
    let beside = Beside::open(&place.address)?;
    let mut queue = raw::own(place)?;
    // Its log is the same file.
    let syncing = place.connection()?;
    syncing.query_row("SELECT count(*) FROM segue_lanes", [], |_| Ok(()))?;
    say("ready")?;
    for line in std::io::stdin().lines() {
        let numbers: Vec<usize> = line?.split(' ').filter_map(|n| n.parse().ok()).collect();
        match (part, &numbers[..]) {
            ("raw-pickup", _) => {
                beside.listen();
                queue.exchange(1)?;
                say(&monotonic().to_string())?;
            }
            (_, [rows, rounds]) => {
                for _ in 0..*rounds {
                    let number = beside.write(queue.as_mut(), *rows)?;
                    if part == "raw-shared" {
                        beside.cover(&syncing, number)?;
                    }
                }
                say("done")?;
            }
            _ => return Err(format!("unknown: {part} {numbers:?}").into()),
        }
    }
    Ok(())
}

/// Files beside the database: locks, and words that all processes share.
struct Beside {
    turn: File,
    sync: File,
    page: MmapRaw,
}

impl Beside {
    fn open(address: &Address) -> Result<Self> {
        let Address::File(path) = address else {
            return Err("it is no file".into());
        };
        let page = open(&path.with_extension("page"))?;
        page.set_len(4096)?;
        let (turn, sync) = (path.with_extension("turn"), path.with_extension("sync"));
        Ok(Self { turn: open(&turn)?, sync: open(&sync)?, page: MmapRaw::map_raw(&page)? })
    }

    #[allow(unsafe_code, reason = "an atomic in a page that other processes map too")]
    fn word(&self, index: usize) -> &AtomicU32 {
        assert!(index < 1024);
        // SAFETY: the page is mapped and aligned as long as `self` lives, has 1024 words, and is
        // touched through atomics only.
        unsafe { AtomicU32::from_ptr(self.page.as_mut_ptr().cast::<u32>().add(index)) }
    }

    fn ring(&self) {
        self.word(32).fetch_add(1, Ordering::SeqCst);
        let _ = futex::wake(self.word(32), futex::Flags::empty(), 1);
    }

    fn listen(&self) {
        let seen = self.word(32).load(Ordering::SeqCst);
        while self.word(32).load(Ordering::SeqCst) == seen {
            let _ = futex::wait(self.word(32), futex::Flags::empty(), seen, None);
        }
    }

    /// Inserts in turn, and returns the number of the commit.
    fn write(&self, queue: &mut dyn Queue, rows: usize) -> Result<u32> {
        self.turn.lock()?;
        queue.enqueue(rows)?;
        let number = self.word(0).fetch_add(1, Ordering::SeqCst) + 1;
        self.turn.unlock()?;
        Ok(number)
    }

    /// Returns when the commit of this number has been synced, by whomever.
    fn cover(&self, conn: &Connection, number: u32) -> Result<()> {
        let (written, synced) = (self.word(0), self.word(16));
        if synced.load(Ordering::SeqCst) >= number {
            return Ok(());
        }
        self.sync.lock()?;
        if synced.load(Ordering::SeqCst) < number {
            let written = written.load(Ordering::SeqCst);
            sync(conn)?;
            synced.store(written, Ordering::SeqCst);
        }
        Ok(self.sync.unlock()?)
    }
}

fn open(path: &Path) -> Result<File> {
    Ok(OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?)
}

#[allow(unsafe_code, reason = "the sync is SQLite's own")]
fn sync(conn: &Connection) -> Result<()> {
    let mut log: *mut ffi::sqlite3_file = std::ptr::null_mut();
    // SAFETY: the connection is open and has read, so that its log is open too.
    let done = unsafe {
        let (main, what) = (c"main".as_ptr(), ffi::SQLITE_FCNTL_JOURNAL_POINTER);
        ffi::sqlite3_file_control(conn.handle(), main, what, (&raw mut log).cast());
        let sync = (*(*log).pMethods).xSync.ok_or("a log can be synced")?;
        sync(log, ffi::SQLITE_SYNC_NORMAL)
    };
    if done == ffi::SQLITE_OK { Ok(()) } else { Err(format!("no sync: {done}").into()) }
}
