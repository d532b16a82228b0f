//! Effects by when they are due and whom they are about.

use alloc::collections::BTreeSet;

use messages::{BootId, EffectId, JobId, Millis, SledId};

use crate::{Effect, rows::Pending, table::Index};

/// Whom an effect is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Subject {
    /// A sled's power.
    Sled(SledId),
    /// A boot's runner.
    Boot(BootId),
    /// A job.
    Job(JobId),
    /// A receipt.
    Receipt(u64),
}

impl Subject {
    pub(crate) const fn of(effect: &Effect) -> Self {
        match effect {
            Effect::PowerOn { sled, .. }
            | Effect::PowerOff { sled, .. }
            | Effect::PowerOnByHand { sled, .. } => Self::Sled(*sled),
            Effect::Mint { boot, .. }
            | Effect::DeleteRunner { boot, .. }
            | Effect::DispatchWorkflow { boot, .. } => Self::Boot(*boot),
            Effect::LookUpJob { job, .. } | Effect::RerunJob { job, .. } => Self::Job(*job),
            Effect::SignReceipt { sequence, .. } => Self::Receipt(*sequence),
        }
    }
}

/// Derived from the outbox.
#[derive(Clone, Debug, Default)]
pub(crate) struct OutboxIndex {
    pub(crate) due: BTreeSet<(Millis, EffectId)>,
    subjects: BTreeSet<(Subject, EffectId)>,
}

impl OutboxIndex {
    /// Effects about `subject`, oldest first.
    pub(crate) fn about(&self, subject: Subject) -> impl Iterator<Item = EffectId> {
        self.subjects
            .range((subject, EffectId(0))..=(subject, EffectId(u64::MAX)))
            .map(|(_, id)| *id)
    }
}

impl Index<EffectId, Pending> for OutboxIndex {
    type Entry = (Millis, Subject);

    fn entry(pending: &Pending) -> Self::Entry {
        (pending.due, Subject::of(&pending.effect))
    }

    fn add(&mut self, id: EffectId, (due, subject): Self::Entry) {
        self.due.insert((due, id));
        self.subjects.insert((subject, id));
    }

    fn remove(&mut self, id: EffectId, (due, subject): Self::Entry) {
        self.due.remove(&(due, id));
        self.subjects.remove(&(subject, id));
    }

    fn change(&mut self, id: EffectId, before: Self::Entry, after: Self::Entry) {
        self.due.remove(&(before.0, id));
        self.due.insert((after.0, id));
        if before.1 != after.1 {
            self.subjects.remove(&(before.1, id));
            self.subjects.insert((after.1, id));
        }
    }
}
