//! The tests that every backend must pass, one clause of the contract each.
//!
//! ```ignore
//! segue::backend_conformance!(mine, async { MyBackend::temporary().await });
//! ```
//!
//! The backend must be empty and run on a [manual clock](crate::clock::ManualClock), which
//! the clauses move. Passing shows that the backend stores, guards, claims and answers as
//! the model says; it does not show that a commit survives a power cut.

mod agents;
mod claims;
mod flows;
mod hosts;
mod kit;
mod ledger;
mod lists;
mod origins;
mod past;
mod people;
mod prompts;
mod pruning;
mod races;
mod reading;
mod runs;
mod tasks;
mod writing;

use std::{future::Future, pin::Pin};

pub use kit::Kit;

use super::Backend;
use crate::model::{Cursor, Needs, Rows, audit};

/// Every row of a backend, without what backends may number as they like.
pub async fn dump(backend: &dyn Backend) -> Rows {
    let mut rows = backend.read(&Needs::everything()).await.expect("the rows can be read");
    rows.routes.clear();
    rows.turn_routes.clear();
    rows.entries.values_mut().for_each(|entry| entry.cursor = Cursor::START);
    rows
}

/// Panics unless all rows of a backend fit together.
pub async fn assert_sound(backend: &dyn Backend) {
    let found = audit(&dump(backend).await);
    assert!(found.is_empty(), "the rows do not fit together: {found:#?}");
}

/// A clause of the contract: its name and its test.
pub type Clause = (&'static str, fn(Kit) -> Pin<Box<dyn Future<Output = ()> + Send>>);

macro_rules! list_clauses {
    ($($file:ident { $($clause:ident)+ })+) => {
        /// All clauses, for whoever wants to run them without a test harness.
        pub const CLAUSES: &[Clause] = &[$($(
            (stringify!($clause), |kit| Box::pin($file::$clause(kit))),
        )+)+];
    };
}
crate::conformance_clauses!(list_clauses);

/// Runs one clause, then checks that the rows fit together.
pub async fn check(clause: &str, kit: Kit) {
    let known = CLAUSES.iter().find(|(name, _)| *name == clause);
    let (_, test) = known.expect("the macro and the list have the same clauses");
    let backend = kit.backend();
    test(kit).await;
    assert_sound(&*backend).await;
}

/// Runs a test on a runtime of its own, with two threads.
pub fn block_on(test: impl Future<Output = ()>) {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(2).enable_all().build().expect("a runtime starts");
    runtime.block_on(test);
}

/// A module of tests, one for each clause of the [contract](crate::backend::Backend), each
/// on a backend of its own:
///
/// ```ignore
/// backend_conformance!(mine, async { MyBackend::temporary().await });
/// backend_conformance!(mine, async { MyBackend::temporary().await }, foreign: insert);
/// ```
///
/// `insert`, an `async fn(Arc<MyBackend>, TaskSpec)`, does what another program does that
/// inserts a task by itself. A backend without such rows leaves it out.
#[macro_export]
macro_rules! backend_conformance {
    ($name:ident, $make:expr $(, foreign: $insert:path)? $(,)?) => {
        mod $name {
            #[allow(unused_imports, reason = "the expression may use names around it or not")]
            use super::*;

            async fn kit() -> $crate::backend::conformance::Kit {
                let backend = ::std::sync::Arc::new($make.await);
                let kit = $crate::backend::conformance::Kit::new(backend.clone());
                $( let kit = kit.with_foreign(move |spec| {
                    ::std::boxed::Box::pin($insert(backend.clone(), spec))
                }); )?
                kit
            }

            $crate::conformance_clauses!($crate::conformance_tests);
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! conformance_tests {
    ($($file:ident { $($clause:ident)+ })+) => {$($(
        #[test]
        fn $clause() {
            use $crate::backend::conformance;
            conformance::block_on(async {
                conformance::check(stringify!($clause), kit().await).await;
            });
        }
    )+)+};
}

/// Calls a macro with the list of clauses, by file.
#[doc(hidden)]
#[macro_export]
macro_rules! conformance_clauses {
    ($then:path) => {
        $then! {
            tasks {
                an_enqueued_task_is_stored_once
                tasks_are_enqueued_together_or_not_at_all
                every_field_of_a_task_is_kept
                large_values_are_kept_and_larger_ones_refused
                text_that_no_database_takes_is_refused_or_mended
                a_scheduled_task_waits_for_its_time
                each_decision_has_its_effect
                a_repeated_settle_is_answered_the_same
                a_stale_lease_changes_nothing
                the_lease_never_goes_back
                a_refused_command_leaves_its_neighbours_alone
                cancelling_what_runs_is_a_request
                cancelling_reaches_descendants
                a_paused_task_is_not_claimed
                a_failed_task_runs_again_when_a_person_says_so
                rescue_follows_the_policy_of_the_task
            }
            origins {
                an_import_keeps_ids_and_times
                a_unique_key_makes_one_task
                a_unique_key_is_free_when_its_task_ends
                a_foreign_task_is_adopted_once
                an_id_of_a_foreign_task_is_taken
                a_foreign_task_that_makes_no_sense_fails
            }
            claims {
                the_smallest_priority_comes_first_then_the_oldest
                a_claim_takes_no_more_than_its_limit
                a_claim_takes_only_what_the_worker_serves
                a_capacity_key_is_held_by_no_more_than_its_slots
                a_task_needs_a_slot_of_each_of_its_keys
                lowering_a_capacity_starts_nothing_until_enough_have_ended
                a_key_without_limit_stops_nobody
                slots_are_free_after_every_kind_of_end
                a_parked_key_starts_nothing_until_its_time
                parking_by_a_worker_costs_no_attempt
                a_full_key_hides_nothing_behind_it
                what_waits_hides_nothing_that_is_ready
                a_repeated_claim_takes_the_same_tasks
                a_claim_sees_what_its_commit_released
                what_a_commit_woke_is_said
            }
            runs {
                a_launched_run_is_stored_once
                a_join_is_released_when_all_have_completed
                two_ends_in_one_commit_release_a_join_once
                a_failure_skips_all_that_depends_on_it
                cancelling_a_run_stops_what_runs_and_drops_the_rest
                a_paused_run_starts_nothing
                a_retried_step_keeps_its_run_going
                a_run_without_steps_is_complete
                steps_that_are_no_flow_are_refused
                a_wide_run_is_joined
                a_skip_travels_through_10_000_levels
            }
            flows {
                every_field_of_a_step_is_kept
                a_tolerated_end_lets_a_join_through
                a_condition_looks_at_what_was_returned
                a_failure_may_stop_the_run
                a_delayed_step_waits_for_its_time
                a_step_adds_steps_when_it_completes
                steps_that_have_no_place_fail_the_one_that_adds_them
                one_step_is_cancelled
                a_run_is_done_again_in_three_ways
                what_a_step_added_goes_when_it_is_done_again
                a_fork_owns_what_it_keeps
                work_is_remembered_with_its_last_attempt
                every_field_of_a_run_is_kept
                a_task_waits_for_the_run_it_launched
            }
            people {
                a_question_is_answered_once
                a_task_goes_on_when_all_is_answered
                a_task_at_work_asks_and_its_answer_is_used_once
                what_a_dead_worker_asked_is_answered_to_the_next
                what_nobody_needs_is_withdrawn
                a_failure_waits_for_a_person
                items_are_listed_by_where_they_stand
                sessions_and_chats_are_opened_and_changed
                messages_are_appended_in_order_and_once
                what_an_attempt_said_is_stored_with_its_end
                a_deleted_chat_takes_its_messages_along
                a_deleted_chat_can_be_opened_again
                a_deleted_session_leaves_its_chats_and_tasks
                a_session_is_deleted_and_made_again_in_one_commit
                references_to_nothing_are_refused
            }
            agents {
                a_turn_is_begun_once_for_a_task_that_is_held
                an_agent_takes_one_turn_in_a_chat_at_a_time
                a_turn_ends_with_its_attempt
                a_turn_of_which_nothing_is_said_broke_off
                a_session_is_continued_while_it_fits
                a_session_in_which_nothing_was_said_is_begun_anew
                a_turn_goes_on_when_its_session_is_lost
                a_deleted_chat_takes_its_turns_and_leaves_the_account
                every_field_of_a_turn_and_its_session_is_kept
                turns_and_sessions_are_listed_in_pages
            }
            prompts {
                prompts_are_taken_one_at_a_time_in_the_order_of_sending
                a_prompt_keeps_its_place_until_it_has_ended
                every_end_of_a_prompt_releases_the_next
                a_paused_prompt_gives_its_place_away
                a_prompt_for_later_is_in_line_from_its_time
                a_prompt_that_interrupts_goes_first
                many_ends_in_one_commit_release_the_right_prompt
                a_deleted_chat_cancels_its_prompts
                an_imported_prompt_is_in_line
                a_foreign_prompt_is_in_line
                prompts_are_read_by_task_line_and_chat
                prompts_at_once_are_taken_one_at_a_time
            }
            past {
                a_past_is_taken_in_once
                a_session_that_was_taken_in_is_continued_by_the_first_who_fits
                a_fork_begins_like_its_origin
                agents_of_a_fork_are_told_what_was_said
            }
            hosts {
                a_program_is_written_down_before_it_is_started
                programs_of_engines_that_are_gone_are_found
                what_is_known_of_an_agent_is_kept_and_renewed
                an_agent_is_in_quarantine_until_someone_allows_it_again
            }
            writing {
                a_message_grows_by_parts
                who_watches_is_told_what_was_added
                a_part_that_has_no_place_is_refused
                a_deleted_chat_takes_what_was_written_along
            }
            ledger {
                a_report_is_booked_once
                a_counter_is_booked_as_what_it_has_grown_by
                counters_are_of_one_session_and_one_model
                what_was_booked_is_the_usage_of_the_attempt
                facts_are_taken_after_the_end_and_without_a_chat
                every_field_of_a_booking_is_kept
                the_ledger_is_listed_in_pages
            }
            reading {
                due_names_what_an_instance_holds_and_who_holds_anything
                due_is_limited_and_says_when_to_look_again
                instances_register_beat_and_retire
                a_read_leaves_out_what_is_not_there
                a_read_finds_rows_by_every_key
                a_read_finds_a_run_whole_or_in_part
                a_stream_is_followed_by_its_cursors
                the_stream_of_all_has_every_entry_once
                waiting_ends
            }
            lists {
                tasks_are_listed_in_pages
                tasks_are_filtered
                runs_chats_sessions_and_messages_are_listed
                stats_count_by_state
                a_project_is_counted_by_itself
                capacity_keys_are_listed_with_what_they_hold_back
                sizes_are_told
            }
            pruning {
                pruning_takes_finished_tasks_with_all_of_theirs
                pruning_takes_parents_after_their_children
                pruning_takes_only_whole_runs
                pruning_entries_keeps_those_of_live_runs
            }
            races {
                claims_at_once_never_hand_out_a_task_twice
                claims_at_once_respect_capacity
                settles_of_one_run_at_once_release_a_join_once
                a_run_ends_once_when_its_last_steps_end_at_once
                one_task_enqueued_at_once_is_made_once
                a_unique_key_at_once_makes_one_task
                settles_of_one_attempt_at_once_count_once
                a_session_is_deleted_while_it_is_used
                a_follower_misses_nothing
                a_reader_sees_whole_commits
            }
        }
    };
}
