//! What a picture of a world needs, minute by minute.

/// Where a sled stands, for people. The order is that of the picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// A runner runs.
    Running,
    /// Wiped, and waits for its order or has just got it.
    Ready,
    /// Being wiped.
    Wiping,
    /// Boots over the network.
    Netbooting,
    /// Told to turn on.
    PoweringOn,
    /// Told to turn off, not proved off yet.
    PoweringOff,
    /// Proved off.
    Off,
    /// Its power is unknown, or it is quarantined.
    Withheld,
}

impl Standing {
    /// All, in their order.
    pub const ALL: [Self; 8] = [
        Self::Running,
        Self::Ready,
        Self::Wiping,
        Self::Netbooting,
        Self::PoweringOn,
        Self::PoweringOff,
        Self::Off,
        Self::Withheld,
    ];
}

/// One minute.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// Milliseconds since the world began.
    pub at_ms: u64,
    /// Jobs that wait at GitHub and that a pool serves.
    pub waiting: usize,
    /// Sleds in each [`Standing`], in the order of [`Standing::ALL`].
    pub sleds: [usize; 8],
}

/// Something that people should know when they look at the picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// What.
    pub label: &'static str,
    /// Milliseconds since the world began.
    pub from_ms: u64,
    /// Its end.
    pub until_ms: u64,
}

/// A world, recorded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// Each minute.
    pub samples: Vec<Sample>,
    /// When each job got its runner, and how long it had waited, in milliseconds.
    pub waits: Vec<(u64, u64)>,
    /// Outages.
    pub marks: Vec<Mark>,
}
