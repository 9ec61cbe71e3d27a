//! One suite for every store: what the contracts of [`Store`] and [`Timelines`] promise.
//!
//! A store's tests name a [`Subject`] and let [`conformance_tests!`](crate::conformance_tests) make a test of each
//! case.
#![expect(clippy::unwrap_used, reason = "these are tests, even if exported")]

mod cache;
mod edges;
mod feeds;
mod generations;
mod horizon;
mod kit;
mod limits;
mod log;
mod purges;
mod random;
mod records;
mod reference;
mod restarts;
mod snapshots;

use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;

use crate::{Shape, Store, Timelines};

pub use random::{compare, compare_records};
pub use reference::Memory;

/// What the suite judges: a place that holds one store and its timelines.
#[async_trait]
pub trait Subject: Send + Sync {
    /// Opens what the place holds, nothing at first. Called again once all of the former opening is dropped: what was
    /// committed and checkpointed then has to be there, and nothing else.
    async fn open(&self, shape: Shape) -> Opened;

    /// Where its timelines have their references.
    fn home(&self) -> Home {
        Home::Memory
    }

    /// Whether what it needs is missing here, a server for one; it says so, and cases are passed over.
    fn is_missing(&self) -> bool {
        false
    }
}

/// Where timelines have their references. What follows from that is promised of some stores only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Home {
    /// In memory: they take some, purges take them out of it, and a restart has those of the last checkpoint.
    Memory,
    /// In rows: those that are written are there after a restart, checkpoint or not, and purges may leave them.
    Rows,
}

/// An open store with its timelines.
pub struct Opened {
    /// The records.
    pub store: Arc<dyn Store>,
    /// The timelines.
    pub timelines: Arc<dyn Timelines>,
}

type Running<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;
type Case = (&'static str, for<'a> fn(&'a dyn Subject) -> Running<'a>);

/// The list of cases about records, handed on to a macro.
#[doc(hidden)]
#[macro_export]
macro_rules! conformance_record_cases {
    ($then:ident $subject:expr) => {
        $crate::$then! {
            $subject;
            records::numbers_are_dense_and_stay, records::every_kind_of_record_comes_back,
            records::records_of_an_account_come_in_pages, records::tombstones_are_found_by_age,
            records::reposts_of_a_post_come_in_pages, records::account_rows_and_sync_marks,
            feeds::a_feed_is_in_order, feeds::a_feed_comes_in_pages, feeds::items_come_and_go,
            feeds::a_new_version_may_take_the_old_ones_place, feeds::the_newest_is_known,
            horizon::what_is_before_the_horizon_has_left,
            horizon::transactions_find_what_has_left_in_the_order_of_its_coming,
            edges::an_edge_lives_as_long_as_one_record, edges::both_edge_sets_page_by_rising_number,
            edges::an_account_may_follow_itself, edges::high_follows_are_those_above_the_limit,
            edges::the_record_of_an_edge_is_the_oldest_that_lives,
            log::tasks_are_numbered_in_order, log::the_log_is_cut, log::a_cut_during_a_transaction_holds,
            log::the_cursor_is_the_last_one, log::wholeness_goes_with_its_transaction,
            snapshots::a_view_keeps_its_moment, snapshots::an_old_view_still_sees_what_it_saw,
            snapshots::a_transaction_sees_its_own_writes,
            snapshots::a_dropped_transaction_leaves_nothing, snapshots::one_transaction_at_a_time,
            snapshots::none_asked_none_given, snapshots::to_look_ahead_changes_nothing,
            snapshots::records_survive,
        }
    };
}

/// The list of cases about timelines, handed on to a macro.
#[doc(hidden)]
#[macro_export]
macro_rules! conformance_timeline_cases {
    ($then:ident $subject:expr) => {
        $crate::$then! {
            $subject;
            horizon::references_before_a_time_are_dropped,
            cache::references_are_counted, cache::writing_twice_is_writing_once,
            cache::the_cap_holds_and_the_floor_rises, cache::a_trim_takes_whole_milliseconds,
            cache::a_read_ends_with_a_whole_millisecond, cache::the_draw_decides_but_for_own_items,
            cache::every_timeline_has_one_shard, cache::a_page_meets_the_enrolled,
            cache::a_page_is_split_by_shard,
            generations::filling_answers_nothing_and_misses_nothing,
            generations::a_fill_raises_the_floor_first, generations::a_filling_one_notes_floors,
            generations::a_filling_one_is_not_trimmed_at_its_cap, generations::a_flood_while_filling_raises_the_floor,
            generations::a_publication_over_the_cap_is_trimmed, generations::late_publications_are_refused,
            generations::generations_rise_whatever_the_clock, generations::leaving_is_for_one_generation,
            generations::a_rate_is_only_lowered, generations::idle_timelines_are_found_in_portions,
            generations::nothing_happens_to_one_that_is_out,
            limits::memory_is_counted, limits::the_least_useful_come_first, limits::paging_is_one_visit,
            purges::a_purge_looks_at_the_edge_of_that_moment, purges::own_items_are_never_purged,
            purges::a_purge_leaves_floor_and_others_alone, purges::a_filling_one_is_purged,
            restarts::a_checkpoint_comes_back, restarts::what_is_not_checkpointed_is_gone,
            restarts::a_checkpoint_replaces_the_former, restarts::a_smaller_cap_trims,
            restarts::another_draw_drops_all, restarts::generations_rise_over_a_restart,
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! conformance_each {
    ($subject:expr; $($module:ident :: $case:ident,)*) => {
        $(
            #[test]
            fn $case() {
                $crate::conformance::run(stringify!($case), &$subject);
            }
        )*
    };
}

/// Makes a `#[test]` of each case; the expression makes a new [`Subject`] for each.
#[macro_export]
macro_rules! conformance_tests {
    ($subject:expr) => {
        $crate::conformance_record_tests! { $subject }
        $crate::conformance_timeline_tests! { $subject }
    };
}

/// As [`conformance_tests!`](crate::conformance_tests), of the cases about records.
#[macro_export]
macro_rules! conformance_record_tests {
    ($subject:expr) => {
        $crate::conformance_record_cases! { conformance_each $subject }
    };
}

/// As [`conformance_tests!`](crate::conformance_tests), of the cases about timelines.
#[macro_export]
macro_rules! conformance_timeline_tests {
    ($subject:expr) => {
        $crate::conformance_timeline_cases! { conformance_each $subject }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! conformance_list {
    ($subject:expr; $($module:ident :: $case:ident,)*) => {
        &[$((stringify!($case), |subject| Box::pin($module::$case(subject)))),*]
    };
}

const RECORDS: &[Case] = conformance_record_cases! { conformance_list () };
const TIMELINES: &[Case] = conformance_timeline_cases! { conformance_list () };

/// Runs a case of this name on a runtime of its own.
///
/// # Panics
/// When the subject breaks the contract, or when there is no such case.
pub fn run(name: &str, subject: &dyn Subject) {
    if subject.is_missing() {
        return;
    }
    let mut all = RECORDS.iter().chain(TIMELINES);
    let (_, case) = all.find(|(known, _)| *known == name).expect("a case of the list");
    // subjects may speak with servers
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime of one thread").block_on(case(subject));
}
