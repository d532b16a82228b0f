//! The sliding window that drops replayed packets (IPMI 6.12.13).

/// IPMI 6.12.13: how far ahead of the highest number seen one may be.
const AHEAD: u32 = 15;
/// How far behind the highest number seen one may be.
const BEHIND: u32 = 16;

/// Which session sequence numbers of a BMC were seen.
#[derive(Debug, Default)]
pub(super) struct Window {
    /// The highest number seen, and bit n for "highest − n was seen".
    seen: Option<(u32, u32)>,
}

impl Window {
    /// Whether `number` is new and near enough; if so it is now seen.
    ///
    /// Call this only for packets whose code was verified, or a stranger
    /// could move the window.
    pub(super) fn accept(&mut self, number: u32) -> bool {
        // IPMI 13.6: zero belongs to packets outside of a session.
        if number == 0 {
            return false;
        }
        let Some((highest, bits)) = self.seen else {
            self.seen = Some((number, 1));
            return true;
        };
        let ahead = number.wrapping_sub(highest);
        let behind = highest.wrapping_sub(number);
        if (1..=AHEAD).contains(&ahead) {
            self.seen = Some((number, (bits << ahead) | 1));
            return true;
        }
        if behind > BEHIND || bits & (1 << behind) != 0 {
            return false;
        }
        self.seen = Some((highest, bits | (1 << behind)));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_passes_once_within_the_window() {
        let check = |numbers: &[(u32, bool)]| {
            let mut window = Window::default();
            for (number, expect) in numbers {
                assert_eq!(window.accept(*number), *expect, "{number} of {numbers:?}");
            }
        };
        check(&[(0, false), (1, true), (1, false), (2, true), (1, false)]);
        check(&[(1, true), (16, true), (2, true), (2, false), (32, false)]);
        check(&[
            (40, true),
            (24, true),
            (24, false),
            (23, false),
            (55, true),
            (71, false),
        ]);
        check(&[
            (u32::MAX, true),
            (0, false),
            (1, true),
            (u32::MAX, false),
            (2, true),
        ]);
    }
}
