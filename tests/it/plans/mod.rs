//! Every statement of both databases: that it is one, and how it finds its rows in large tables.
//!
//! The files of the statements are compiled in here, since nobody else may see them.

#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "sqlite")]
mod sqlite;

/// One statement, or several.
trait Texts {
    fn texts(&self) -> Vec<&'static str>;
}

impl Texts for &'static str {
    fn texts(&self) -> Vec<&'static str> {
        vec![self]
    }
}

impl<const N: usize> Texts for [&'static str; N] {
    fn texts(&self) -> Vec<&'static str> {
        self.to_vec()
    }
}

/// The statements that both databases have, and those of the one, with their names.
macro_rules! statements {
    ($($own:ident)+) => {
        $crate::plans::statements!(@
            WRITER_MIN SCHEMA_VERSION HAS_SCHEMA CREATE_HISTORY HISTORY ADD_HISTORY
            TASK SPEC CHILDREN ATTEMPTS ITEM ITEMS_OF UNIQUE UNIQUE_ALL CAPACITY SLOTS LANE
            SESSION CHAT MESSAGE RUN RUN_SPEC STEP STEPS_OF STEPS_HUNGRY EDGES_FROM EDGES_OF INSTANCE
            INSTANCES_ALL ENTRIES_ALL INSERT_LANE INSERT_SPEC ADOPT_SPEC INSERT_TASK UPDATE_TASK
            INSERT_ATTEMPT FREE_SLOTS INSERT_UNIQUE FREE_UNIQUE PUT_ITEM PUT_CAPACITY ADD_SLOTS
            DROP_SLOTS PUT_SESSION DELETE_SESSION PUT_CHAT DELETE_CHAT DELETE_ENTRIES
            INSERT_MESSAGE INSERT_RUN_SPEC PUT_RUN INSERT_STEP UPDATE_STEP INSERT_EDGE
            RUNS_UNDER RUN_ATTEMPTS STEP_INPUT STEP_INPUTS_ALL MEMO PUT_STEP_INPUT PUT_MEMO PUT_RUN_ATTEMPT
            DELETE_EDGE DELETE_STEP PUT_INSTANCE DELETE_INSTANCE INSERT_ENTRY CLAIM
            TAKE_SLOT CLAIMED_BEFORE BEAT RIPE NEXT_TIMER NEXT_UNPARK FOREIGN HELD ANY_READY
            LAST_ENTRY TAIL TAIL_ALL PRUNED ENTRY_IS_KEPT NOTE_PRUNED COUNT_TASKS COUNT_FOREIGN
            COUNT_RUNS COUNT_INBOX COUNT_PROJECT DISK_BYTES OLD_TASKS OLD_RUNS TASKS_OF_RUN
            DELETE_TASK DELETE_RUN PRUNE_ENTRIES LIST_CAPACITY LIST_MESSAGES LIST_SESSIONS
            LIST_CHATS AGENT_SESSION NEWEST_AGENT_SESSION TURN OPEN_TURNS PUT_AGENT_SESSION PUT_TURN
            LIST_AGENT_SESSIONS LIST_TURNS BOOKING LEDGER_ALL INSERT_BOOKING LEDGER_OF_CHAT PROCESS AGENT AGENTS_ALL PUT_PROCESS DELETE_PROCESS PUT_AGENT ORPHANS LIST_AGENTS
            PART PARTS_ALL INSERT_PART LIST_PARTS ROUTE TURN_ROUTE PROMPT PROMPTS_IN_LINE PROMPTS_OF
            PUT_PROMPT DELETE_PROMPT
            LEDGER_OF_TASK LEDGER_OF_RUN SPENT_OF_CHAT SPENT_OF_TASK SPENT_OF_RUN $($own)+)
    };
    (@ $($name:ident)+) => {
        vec![$((stringify!($name), $crate::plans::Texts::texts(&sql::$name))),+]
    };
}
use statements;

/// Fails when a constant of the file is in none of the lists.
fn expect_all(source: &str, known: &[(&str, Vec<&str>)], others: &[&str]) {
    let constants = source.lines().filter_map(|line| line.strip_prefix("pub const "));
    let names = constants.filter_map(|line| line.split(':').next());
    let is_known = |name: &&str| known.iter().any(|(known, _)| known == name);
    let unknown: Vec<_> = names.filter(|name| !is_known(name) && !others.contains(name)).collect();
    assert!(unknown.is_empty(), "statements that no test prepares: {unknown:?}");
}
