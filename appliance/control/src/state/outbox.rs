//! Effects that are wanted and have no outcome yet, and when the next thing is
//! due.

use alloc::{collections::BTreeSet, vec::Vec};

use messages::{BootId, EffectId, Millis, SledId};

use super::State;
use crate::{Effect, index::outbox::Subject, rows::Pending};

impl State {
    /// Puts an effect into the outbox, due at `due`.
    pub(crate) fn push_effect(&mut self, due: Millis, effect: Effect) -> EffectId {
        let id = EffectId(self.count(|meta| {
            meta.next_effect += 1;
            meta.next_effect - 1
        }));
        self.outbox.insert(
            id,
            Pending {
                effect,
                due,
                attempts: 0,
                again: false,
            },
        );
        id
    }

    /// The same, unless that very effect is in the outbox already.
    pub(crate) fn push_once(&mut self, due: Millis, effect: Effect) {
        let listed = self
            .effects_about(Subject::of(&effect))
            .any(|(_, pending)| pending.effect == effect);
        if !listed {
            self.push_effect(due, effect);
        }
    }

    /// Effects in the outbox that are wanted, oldest first.
    pub(crate) fn effects_that(&self, wanted: impl Fn(&Pending) -> bool) -> Vec<EffectId> {
        let listed = self.outbox.iter();
        listed
            .filter(|(_, pending)| wanted(pending))
            .map(|(id, _)| id)
            .collect()
    }

    /// Effects about one subject, oldest first.
    pub(crate) fn effects_about(
        &self,
        subject: Subject,
    ) -> impl Iterator<Item = (EffectId, &Pending)> {
        self.outbox
            .index()
            .about(subject)
            .filter_map(|id| self.outbox.get(id).map(|pending| (id, pending)))
    }

    /// Takes effects about `subject` out of the outbox that are not wanted any more.
    pub(crate) fn withdraw_effects(
        &mut self,
        subject: Subject,
        unwanted: impl Fn(&Effect) -> bool,
    ) -> Vec<Pending> {
        let ids: Vec<EffectId> = self
            .effects_about(subject)
            .filter(|(_, pending)| unwanted(&pending.effect))
            .map(|(id, _)| id)
            .collect();
        ids.into_iter()
            .filter_map(|id| self.outbox.remove(id))
            .collect()
    }

    /// Effects whose time has come, in order. They stay listed until their
    /// outcome is stepped: the caller knows which ones it has begun.
    pub fn due_effects(&self, now: Millis) -> impl Iterator<Item = (EffectId, &Effect)> {
        self.outbox
            .index()
            .due
            .range(..=(now, EffectId(u64::MAX)))
            .filter_map(|(_, id)| self.outbox.get(*id).map(|pending| (*id, &pending.effect)))
    }

    /// The first time after `last`, the time of the last tick, at which a tick
    /// or an effect is due. What was due by then was ticked and begun.
    #[must_use]
    pub fn next_wake_after(&self, last: Millis) -> Option<Millis> {
        let from = last.after(1);
        let effect = first_from(&self.outbox.index().due, (from, EffectId(0)));
        let check = first_from(&self.checks.order, (from, SledId(0)));
        let deadline = first_from(&self.boots.index().deadlines, (from, BootId(0)));
        let blocked = self.pools.iter().filter_map(|(_, pool)| pool.blocked_until);
        let blocked = blocked.filter(|at| *at > last).min();
        let dwell = self.limits.off_dwell_ms;
        let since = Millis(from.0.saturating_sub(dwell));
        let dwell = first_from(&self.sleds.index().off_since, (since, SledId(0)))
            .map(|since| since.after(dwell))
            .filter(|_| self.jobs.index().queued > 0);
        [effect, check, deadline, blocked, dwell]
            .into_iter()
            .flatten()
            .filter(|at| at.0 != u64::MAX)
            .min()
    }

    /// When a [`Event::Tick`](crate::Event::Tick) or an effect is due next. It
    /// lies in the past while an effect that is due has no outcome, so a loop
    /// that waits for it uses [`State::next_wake_after`].
    #[must_use]
    pub fn next_wake(&self) -> Option<Millis> {
        self.next_wake_after(Millis(0))
    }

    /// Whether an effect still waits for its outcome.
    #[must_use]
    pub fn is_pending(&self, id: EffectId) -> bool {
        self.outbox.get(id).is_some()
    }
}

/// The time of the first entry from `from` on.
fn first_from<T: Ord>(times: &BTreeSet<(Millis, T)>, from: (Millis, T)) -> Option<Millis> {
    times.range(from..).next().map(|(at, _)| *at)
}
