//! Text that many rows hold, kept once.

use alloc::{collections::BTreeSet, sync::Arc};

/// Texts in use. One that no row holds any more leaves when there is a need.
#[derive(Clone, Debug, Default)]
pub(crate) struct Interner {
    texts: BTreeSet<Arc<str>>,
    /// Texts after the last sweep.
    swept: usize,
}

/// A sweep is due when the texts have doubled since the last, from this on.
const SWEEP: usize = 1024;

impl Interner {
    /// An equal text, shared with whoever holds it already.
    pub(crate) fn share(&mut self, text: Arc<str>) -> Arc<str> {
        if let Some(known) = self.texts.get(&text) {
            return Arc::clone(known);
        }
        if self.texts.len() >= SWEEP.max(self.swept * 2) {
            self.texts.retain(|text| Arc::strong_count(text) > 1);
            self.swept = self.texts.len();
        }
        self.texts.insert(Arc::clone(&text));
        text
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;

    use super::*;

    #[test]
    fn equal_texts_are_one_and_unused_ones_leave() {
        let mut interner = Interner::default();
        let first = interner.share("octo/app".into());
        let second = interner.share("octo/app".into());
        assert!(Arc::ptr_eq(&first, &second));
        for number in 0..SWEEP * 3 {
            drop(interner.share(format!("octo/{number}").into()));
        }
        assert!(interner.texts.len() <= SWEEP);
        assert!(Arc::ptr_eq(&first, &interner.share("octo/app".into())));
    }
}
