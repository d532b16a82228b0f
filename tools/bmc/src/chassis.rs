//! What the BMC stands in front of, and how it behaves.

/// A user of the BMC.
#[derive(Clone, Debug)]
pub struct User {
    /// Name, 16 bytes at most.
    pub name: String,
    /// Password, padded with zeros.
    pub password: [u8; 20],
    /// May log in.
    pub enabled: bool,
    /// 2 user, 3 operator, 4 administrator.
    pub privilege: u8,
}

impl User {
    /// An enabled administrator.
    ///
    /// # Panics
    /// When the password has more than 20 bytes.
    #[must_use]
    pub fn administrator(name: &str, password: &[u8]) -> Self {
        let mut padded = [0; 20];
        padded[..password.len()].copy_from_slice(password);
        Self {
            name: name.to_owned(),
            password: padded,
            enabled: true,
            privilege: 4,
        }
    }
}

/// Whether the BMC tells the truth and does what it says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Manner {
    /// It does.
    #[default]
    Honest,
    /// It reads as on, whatever is so.
    SaysOn,
    /// It reads as off, whatever is so.
    SaysOff,
    /// It accepts power commands and does nothing.
    Ignores,
    /// It does what it is told, and undoes it so many milliseconds later.
    FlipsAfter(u64),
    /// It answers so many more commands, then nothing at all.
    DiesAfter(u32),
}

/// Oddities of real BMCs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quirks {
    /// Refuses "off" when off, and "on" when on (bmclib 417).
    pub refuses_what_is_so: bool,
    /// Hashes Open Session's privilege level (FreeIPMI `opensesspriv`).
    pub hashes_open_session: bool,
    /// Sends bytes behind the codes of RAKP 2 and 4.
    pub long_codes: bool,
    /// Forgets the EFI bit of the boot flags.
    pub loses_efi_bit: bool,
    /// Sends each answer twice, the second after the next one.
    pub repeats_answers: bool,
    /// Accepts a restore policy and keeps its own.
    pub keeps_policy: bool,
    /// Says "node busy" to so many commands first.
    pub busy: u32,
    /// Never answers a port that sent a set-up packet twice.
    pub hates_repeated_ports: bool,
    /// Has no firmware firewall.
    pub no_firewall: bool,
    /// Takes passwords of 16 bytes only.
    pub short_passwords: bool,
    /// Takes passwords of 20 bytes and keeps 16 of them.
    pub cuts_passwords: bool,
}

/// Everything behind the BMC's network port.
#[derive(Clone, Debug)]
pub struct Chassis {
    /// Power.
    pub on: bool,
    /// 0 stays off, 1 as before, 2 powers up.
    pub policy: u8,
    /// Boot flags as they were set.
    pub boot_flags: [u8; 5],
    /// Users; the first has number 1.
    pub users: Vec<User>,
    /// Event log.
    pub events: Vec<[u8; 16]>,
    /// What the machine draws, in watts; `None` when nothing measures.
    pub watts: Option<u16>,
    /// How often that was asked.
    pub watts_read: u32,
    /// IPv4 address that LAN parameters show.
    pub address: [u8; 4],
    /// Firmware revision.
    pub firmware: (u8, u8),
    /// Commands that the system interface may give, by network function / 2.
    pub enables: [[u8; 16]; 32],
    /// What the serial line says and nobody has read yet.
    pub serial_output: Vec<u8>,
    /// What was typed on the serial line.
    pub serial_input: Vec<u8>,
    /// Seconds that the identify light was asked for last.
    pub identify_s: Option<u8>,
    /// What was done to power, in order.
    pub orders: Vec<&'static str>,
    /// How many commands came in sessions.
    pub commands: u64,
    /// Truthfulness.
    pub manner: Manner,
    /// Oddities.
    pub quirks: Quirks,
}

impl Chassis {
    /// A chassis that is off, and in good order.
    #[must_use]
    pub fn new(user: User) -> Self {
        let mut anonymous = User::administrator("", b"");
        anonymous.enabled = false;
        anonymous.privilege = 15;
        Self {
            on: false,
            policy: 1,
            boot_flags: [0; 5],
            users: vec![anonymous, user],
            events: Vec::new(),
            watts: Some(150),
            watts_read: 0,
            address: [10, 78, 0, 11],
            firmware: (2, 0x17),
            enables: [[0xff; 16]; 32],
            serial_output: Vec::new(),
            serial_input: Vec::new(),
            identify_s: None,
            orders: Vec::new(),
            commands: 0,
            manner: Manner::default(),
            quirks: Quirks::default(),
        }
    }

    /// What a reading of power says.
    #[must_use]
    pub fn reads_on(&self) -> bool {
        match self.manner {
            Manner::SaysOn => true,
            Manner::SaysOff => false,
            _ => self.on,
        }
    }

    pub(crate) fn order(&mut self, order: &'static str) {
        self.orders.push(order);
        if self.manner == Manner::Ignores {
            return;
        }
        match order {
            "off" | "soft" => self.on = false,
            "on" | "cycle" => self.on = true,
            _ => {}
        }
    }
}
