//! The rule table of the kernel alone: look-ups by `BPF_PROG_TEST_RUN`, without packets and interfaces.

use aya::maps::{Array, ArrayOfMaps, MapData};
use aya::programs::{TestRun as _, TestRunOptions, Xdp};
use aya::{Ebpf, EbpfLoader};
use firewall_core::classify::{Block, Decision};
use firewall_core::tables::RuleKey;
use zerocopy::IntoBytes;

use super::error::{KernelError, chain, program_error};
use super::object::{self, map_error, take_map};
use super::rules::{self, RuleMap};

const CLASSIFY: &str = "vfw_bench_classify";
const NOTHING: &str = "vfw_bench_nothing";

/// Runs of a measurement, of which the best counts.
const ROUNDS: u32 = 7;
/// Look-ups of a run at least. The kernel waits for a grace period of RCU before each run, after which caches and branch
/// predictors know nothing of a rule table any more: few look-ups measure that, not what packets under load find.
const LOOKUPS: u32 = 200_000;

/// Programs that look keys up in a rule table.
pub struct Classifier {
    ebpf: Ebpf,
    decisions: Array<MapData, u32>,
    keys: u32,
}

/// What look-ups gave.
#[derive(Clone, Debug)]
pub struct Lookups {
    /// What the rules say of each key.
    pub decisions: Vec<Decision>,
    /// Mean nanoseconds of a look-up, without what the same program takes that does not look up.
    pub nanos: f64,
}

impl Classifier {
    /// Loads the programs with a rule table and keys.
    pub fn load(blocks: &[Block], keys: &[RuleKey]) -> Result<Self, KernelError> {
        let room = rules::room(blocks.len());
        let object = object::with_rule_blocks(room)?;
        let count = keys.len().max(1) as u32;
        let mut loader = EbpfLoader::new();
        loader.override_global("RULE_BLOCKS", &room, true);
        loader.map_max_entries("BENCH_KEYS", count).map_max_entries("BENCH_DECISIONS", count);
        let mut ebpf = loader.load(object.as_bytes()).map_err(|error| KernelError::Object(chain(&error)))?;
        // Before any map is taken out of the object and closed.
        for name in [CLASSIFY, NOTHING] {
            let program: &mut Xdp = object::program(&mut ebpf, name)?;
            program.load().map_err(|error| KernelError::Program { program: name, reason: program_error(&error) })?;
        }
        let mut slot: ArrayOfMaps<MapData, RuleMap> = take_map(&mut ebpf, "RULES")?;
        slot.set(0, &rules::create(blocks, room)?, 0).map_err(map_error("fill", "RULES"))?;
        let mut places: Array<MapData, [u8; size_of::<RuleKey>()]> = take_map(&mut ebpf, "BENCH_KEYS")?;
        super::fill_array(&mut places, "BENCH_KEYS", 0, keys, &[])?;
        let mut next: Array<MapData, [u32; 2]> = take_map(&mut ebpf, "BENCH_NEXT")?;
        next.set(0, [0, count], 0).map_err(map_error("fill", "BENCH_NEXT"))?;
        Ok(Self { decisions: take_map(&mut ebpf, "BENCH_DECISIONS")?, ebpf, keys: count })
    }

    /// Looks all keys up.
    pub fn run(&mut self) -> Result<Lookups, KernelError> {
        let nothing = self.best(NOTHING)?;
        let nanos = (self.best(CLASSIFY)? - nothing).max(0.0);
        let read = |index| self.decisions.get(&index, 0).map(Decision).map_err(map_error("read", "BENCH_DECISIONS"));
        Ok(Lookups { decisions: (0..self.keys).map(read).collect::<Result<_, _>>()?, nanos })
    }

    /// Nanoseconds of a run, in the best round.
    fn best(&mut self, name: &'static str) -> Result<f64, KernelError> {
        let program: &mut Xdp = object::program(&mut self.ebpf, name)?;
        let frame = [0; 64];
        let mut best = f64::INFINITY;
        for _ in 0..ROUNDS {
            let mut options = TestRunOptions::new();
            options.data_in = Some(&frame);
            options.repeat = LOOKUPS.next_multiple_of(self.keys);
            let result = program
                .test_run(options)
                .map_err(|error| KernelError::Program { program: name, reason: program_error(&error) })?;
            best = best.min(result.duration.as_secs_f64() * 1e9);
        }
        Ok(best)
    }
}
