//! The BMC's end of Serial-over-LAN (IPMI 15).

const WAIT_MS: u64 = 200;
const MOST_BYTES: usize = 128;

/// One activated line.
#[derive(Default)]
pub(super) struct Serial {
    number: u8,
    flight: Option<(Vec<u8>, u64)>,
    newest: u8,
}

impl Serial {
    /// What goes to the console at this time.
    pub(super) fn poll(&mut self, now_ms: u64, output: &mut Vec<u8>) -> Option<Vec<u8>> {
        if self.flight.is_none() && !output.is_empty() {
            let length = output.len().min(MOST_BYTES);
            self.number = self.number % 15 + 1;
            self.flight = Some((output.drain(..length).collect(), 0));
        }
        let (data, due_ms) = self.flight.as_mut()?;
        if *due_ms > now_ms {
            return None;
        }
        *due_ms = now_ms + WAIT_MS;
        Some([&[self.number, 0, 0, 0], data.as_slice()].concat())
    }

    pub(super) fn due_ms(&self) -> Option<u64> {
        self.flight.as_ref().map(|(_, due_ms)| *due_ms)
    }

    /// Takes in a packet of the console; says what to answer.
    pub(super) fn handle(&mut self, payload: &[u8], input: &mut Vec<u8>) -> Option<Vec<u8>> {
        let (&[number, acknowledged, accepted, _], data) = payload.split_first_chunk::<4>()?;
        if acknowledged == self.number
            && let Some((sent, _)) = self.flight.take()
        {
            let rest = sent.get(usize::from(accepted)..).unwrap_or_default();
            if !rest.is_empty() {
                self.number = self.number % 15 + 1;
                self.flight = Some((rest.to_vec(), 0));
            }
        }
        if number == 0 {
            return None;
        }
        if number != self.newest {
            input.extend_from_slice(data);
            self.newest = number;
        }
        Some(vec![0, number, data.len() as u8, 0])
    }
}
