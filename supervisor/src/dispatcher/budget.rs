//! The retry budget of a pool: how many tries beyond the first ones its workers may be given. It
//! keeps an outage from becoming a storm that outlives it.
//!
//! After Finagle's `RetryBudget`: a share of the fresh work and a floor, over the last ten
//! seconds. One thing differs: a retry that brings the answer gives back what it paid. Finagle's
//! callers go on without an answer, ours wait in their streams' order; without that, a window
//! full of messages that have to be tried again would get none of the fresh work that pays for
//! them. While workers fail, every retry costs; once they answer, only the time that answers
//! take is a bound.

use std::time::Duration;

use rollcall_common::{backoff, time::Time};

use super::settings::BudgetSettings;

/// Seconds that a deposit counts, and a withdrawal.
const SECONDS: u64 = 10;
/// Least and longest wait of a retry that the budget has nothing for.
const WAIT: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(1));

/// What became of one second.
#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    second: u64,
    fresh: u64,
    spent: u64,
}

/// A pool's budget. Soft: a restart begins with the floor.
#[derive(Clone, Debug, Default)]
pub(super) struct Budget([Slot; 10]);

/// How a try stands to the budget.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum RetryCost {
    /// It paid nothing, or gets nothing back.
    Free,
    /// It paid, and gets it back if it brings the answer.
    Paid,
}

impl Budget {
    /// Notes a message that is dispatched for the first time.
    pub(super) fn deposit(&mut self, now: Time) {
        self.slot(now).fresh += 1;
    }

    /// Pays for one try; whether there was something left.
    pub(super) fn withdraw(&mut self, settings: BudgetSettings, now: Time) -> bool {
        let (allowed, spent) = self.account(settings, now);
        if spent < allowed {
            self.slot(now).spent += 1;
        }
        spent < allowed
    }

    /// The same, as long as more than half is left.
    pub(super) fn withdraw_spare(&mut self, settings: BudgetSettings, now: Time) -> bool {
        let (allowed, spent) = self.account(settings, now);
        spent.saturating_mul(2) < allowed && self.withdraw(settings, now)
    }

    /// Gives back what was paid at `paid`.
    pub(super) fn give_back(&mut self, paid: Time) {
        let slot = self.0.iter_mut().find(|slot| slot.second == paid.as_secs());
        if let Some(slot) = slot {
            slot.spent = slot.spent.saturating_sub(1);
        }
    }

    /// How long a retry waits that there is nothing for.
    pub(super) fn wait(rng: &mut fastrand::Rng) -> Duration {
        let (least, most) = WAIT;
        least + backoff::below(most - least, rng)
    }

    /// What the last ten seconds allow, and what they have spent.
    fn account(&self, settings: BudgetSettings, now: Time) -> (u64, u64) {
        let oldest = (now.as_secs() + 1).saturating_sub(SECONDS);
        let counting = self.0.iter().filter(|slot| slot.second >= oldest);
        let (fresh, spent) =
            counting.fold((0, 0), |(fresh, spent), slot| (fresh + slot.fresh, spent + slot.spent));
        let share = fresh.saturating_mul(u64::from(settings.percent)) / 100;
        (share + u64::from(settings.per_second) * SECONDS, spent)
    }

    fn slot(&mut self, now: Time) -> &mut Slot {
        let second = now.as_secs();
        let place = usize::try_from(second % SECONDS).unwrap_or_default();
        let slot = self.0.get_mut(place).expect("there is a slot for each remainder");
        if slot.second != second {
            *slot = Slot { second, ..Slot::default() };
        }
        slot
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Time {
        Time::from_micros(seconds * 1_000_000)
    }

    fn spend_all(budget: &mut Budget, settings: BudgetSettings, now: Time) -> u64 {
        (0..).take_while(|_| budget.withdraw(settings, now)).count() as u64
    }

    #[test]
    fn the_floor_is_there_without_any_work() {
        let (mut budget, settings) = (Budget::default(), BudgetSettings::default());
        assert_eq!(spend_all(&mut budget, settings, at(100)), 100);
        assert_eq!(spend_all(&mut budget, settings, at(109)), 0);
        assert_eq!(spend_all(&mut budget, settings, at(110)), 100, "ten seconds later");
    }

    #[test]
    fn fresh_work_pays_its_share_for_ten_seconds() {
        let mut budget = Budget::default();
        let settings = BudgetSettings { percent: 20, per_second: 0 };
        assert_eq!(spend_all(&mut budget, settings, at(50)), 0);
        (0..1_000).for_each(|_| budget.deposit(at(50)));
        assert_eq!(budget.clone().account(settings, at(59)), (200, 0));
        assert_eq!(budget.clone().account(settings, at(60)), (0, 0));
        assert_eq!(spend_all(&mut budget, settings, at(55)), 200);
    }

    #[test]
    fn half_is_kept_from_what_can_be_done_without() {
        let (mut budget, settings) = (Budget::default(), BudgetSettings::default());
        let spare = (0..).take_while(|_| budget.withdraw_spare(settings, at(7))).count();
        assert_eq!(spare, 50);
        assert_eq!(spend_all(&mut budget, settings, at(7)), 50);
    }

    #[test]
    fn what_brings_the_answer_is_given_back_once() {
        let (mut budget, settings) = (Budget::default(), BudgetSettings::default());
        assert_eq!(spend_all(&mut budget, settings, at(3)), 100);
        budget.give_back(at(3));
        assert_eq!(spend_all(&mut budget, settings, at(4)), 1);
        // What was paid too long ago counts no more, and so gives nothing back.
        budget.give_back(at(1_003));
        assert_eq!(spend_all(&mut budget, settings, at(5)), 0);
    }
}
