//! Ratios as criterion measures them: each iteration runs both sides once, in turns.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use criterion::{
    Criterion, SamplingMode, Throughput,
    measurement::{Measurement, ValueFormatter},
};
use tokio::runtime::Runtime;

use super::{
    Result, Wanted,
    table::{Row, Table, Target},
};

/// So many samples of each ratio: the least that criterion takes.
const SAMPLES: usize = 10;

/// So much of something, and how long it took.
#[derive(Clone, Copy, Debug)]
pub struct Rate(pub f64);

impl Rate {
    pub fn of(count: usize, took: Duration) -> Self {
        Self(count as f64 / took.as_secs_f64())
    }

    /// Runs `work`, which does `count` of something.
    pub fn time(count: usize, work: impl FnOnce() -> Result<()>) -> Result<Self> {
        let start = Instant::now();
        work()?;
        Ok(Self::of(count, start.elapsed()))
    }
}

/// What criterion measures here: a quotient instead of a time.
pub struct Quotient;

impl Measurement for Quotient {
    type Intermediate = ();
    type Value = f64;

    fn start(&self) {}

    fn end(&self, (): ()) -> f64 {
        0.0
    }

    fn add(&self, one: &f64, other: &f64) -> f64 {
        one + other
    }

    fn zero(&self) -> f64 {
        0.0
    }

    fn to_f64(&self, value: &f64) -> f64 {
        *value
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        self
    }
}

impl ValueFormatter for Quotient {
    fn scale_values(&self, _: f64, _: &mut [f64]) -> &'static str {
        "of the other"
    }

    fn scale_throughputs(&self, _: f64, _: &Throughput, _: &mut [f64]) -> &'static str {
        "of the other"
    }

    fn scale_for_machines(&self, _: &mut [f64]) -> &'static str {
        "of the other"
    }
}

/// The rows so far, and how to measure more.
pub struct Bench {
    criterion: Criterion<Quotient>,
    pub runtime: Arc<Runtime>,
    pub table: Table,
    wanted: Wanted,
}

impl Bench {
    pub fn new(wanted: Wanted, runtime: Arc<Runtime>) -> Self {
        let criterion = Criterion::default().with_measurement(Quotient);
        let criterion = criterion.sample_size(SAMPLES).without_plots();
        Self { criterion, runtime, table: Table::default(), wanted }
    }

    pub fn is_quick(&self) -> bool {
        self.wanted.quick
    }

    /// A count, or an eighth of it where it must be quick.
    pub fn size(&self, count: usize) -> usize {
        if self.wanted.quick { count.div_ceil(8) } else { count }
    }

    pub fn wants(&self, name: &str) -> bool {
        self.wanted.words.iter().all(|word| name.contains(word.as_str()))
    }

    /// Measures a ratio of rates, of which `both` yields one pair after the other.
    pub fn ratio(
        &mut self,
        name: &str,
        target: Target,
        mut both: impl FnMut() -> Result<(Rate, Rate)>,
    ) -> Result<()> {
        let start = Instant::now();
        // To warm up, and to know how long criterion needs.
        both()?;
        let each = start.elapsed();
        let (mut pairs, mut failure) = (Vec::new(), None);
        let mut group = self.criterion.benchmark_group(name);
        group.sampling_mode(SamplingMode::Flat).warm_up_time(Duration::from_nanos(1));
        group.measurement_time(each.mul_f64(1.2 * SAMPLES as f64));
        group.bench_function("ratio", |bencher| {
            bencher.iter_custom(|iterations| {
                let mut sum = 0.0;
                for _ in 0..iterations {
                    match both() {
                        Ok((own, other)) => {
                            sum += own.0 / other.0;
                            pairs.push((own.0, other.0));
                        }
                        Err(error) => {
                            failure.get_or_insert(error);
                            sum += 1.0;
                        }
                    }
                }
                sum
            });
        });
        group.finish();
        failure.map_or(Ok(()), Err)?;
        self.table.add(Row::ratio(name, target, &pairs));
        Ok(())
    }
}
