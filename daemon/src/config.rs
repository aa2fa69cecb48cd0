//! The configuration file (TOML). Every value has a default; unknown names are refused.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde::de::{self, Deserializer};

use crate::ceremony::Limits;
use crate::sessions::Rules;
use crate::tpm::{PcrBank, PersistentHandles};

/// What an operator may set.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// `system`, or a D-Bus address such as `unix:path=/run/user/1000/bus`.
    pub bus: Bus,
    /// How the TPM is reached, in the words of the TSS.
    pub tcti: String,
    /// Where the enrolment is kept. Default: `$STATE_DIRECTORY`, else `/var/lib/signet`.
    pub state_dir: PathBuf,
    /// The event log of this boot, as `signet-boot-log.service` copies it.
    pub boot_log: PathBuf,
    /// Registers that are quoted.
    #[serde(deserialize_with = "registers")]
    pub pcrs: Vec<u8>,
    /// Which of the TPM's banks is quoted; unset, the best that is switched on.
    pub pcr_bank: Option<PcrBank>,
    /// Registers that new TLS keys are bound to.
    #[serde(deserialize_with = "bound_registers")]
    pub tls_key_pcrs: Vec<u8>,
    /// `"auto"`, `"broker"`, `"discover"`, or the device nodes to use.
    pub authenticators: Authenticators,
    /// Who shows prompts.
    pub prompts: Prompts,
    /// Actions for which the person gives a number that the requester shows.
    pub number_matching: NumberMatching,
    /// Fewest characters of a new PIN that the TPM checks.
    #[serde(deserialize_with = "pin_length")]
    pub tpm_pin_min_length: u32,
    /// `same` as `bus`, or where else fprintd is.
    pub fprintd_bus: FprintdBus,
    /// Whether matches of libfprint's test devices count. They let anybody in: for tests only.
    pub danger_accept_virtual_reader: bool,
    /// Keys that stay in the TPM.
    pub tpm_handles: PersistentHandles,
    /// Whether every caller may do everything, without polkit being asked. For private buses of
    /// tests only.
    pub danger_skip_polkit: bool,
    /// How long to wait for whom.
    pub timeouts: Timeouts,
    /// How many requests may be unfinished.
    pub limits: RequestLimits,
    /// What holds back the renewal of sessions.
    pub sessions: Rules,
}

/// Which bus to serve on.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub enum Bus {
    /// The system bus.
    System,
    /// The bus at this address.
    Address(String),
}

/// Where fprintd is.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub enum FprintdBus {
    /// On the bus that we serve on.
    Same,
    /// On this one.
    Other(Bus),
}

/// Where security keys are looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Authenticators {
    /// From the broker where systemd gave us its socket, else discovered.
    Auto,
    /// Handed in by `signet-broker`.
    Broker,
    /// All FIDO devices that the kernel lists, anew for each request.
    Discover,
    /// These nodes; those that do not exist count as unplugged.
    Paths(Vec<PathBuf>),
}

/// Who shows prompts at this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Prompts {
    /// An agent of the user, and nobody else: without one, requests that need a person are refused.
    Agent,
    /// An agent of the user where one is registered, else the program that made the request.
    Caller,
    /// Nobody sits here: requests that need a person are refused.
    None,
}

/// Patterns of action names: a name, or its beginning with `*` behind it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Vec<String>")]
pub struct NumberMatching(Vec<String>);

/// Seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Timeouts {
    /// For a turn, while others are served.
    #[serde(deserialize_with = "seconds")]
    pub turn: Duration,
    /// For a touch, a finger or a PIN.
    #[serde(deserialize_with = "seconds")]
    pub prompt: Duration,
    /// For the TPM's quote and signatures of one request.
    #[serde(deserialize_with = "seconds")]
    pub tpm: Duration,
    /// During which what a person refused is not asked again; 0 for not at all.
    #[serde(deserialize_with = "seconds_or_none")]
    pub cool_down: Duration,
}

/// Unfinished requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RequestLimits {
    /// Of one connection.
    #[serde(deserialize_with = "count")]
    pub per_caller: usize,
    /// Of all connections of one Unix user.
    #[serde(deserialize_with = "count")]
    pub per_user: usize,
    /// Of all callers.
    #[serde(deserialize_with = "count")]
    pub total: usize,
}

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {path}: check that the file exists and its rights")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file says something that is not understood; the message names line and column.
    #[error("{path} is not a valid configuration: correct the line below")]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Where and what.
        source: toml::de::Error,
    },
}

impl Default for Config {
    fn default() -> Self {
        let state_dir = std::env::var_os("STATE_DIRECTORY").filter(|value| !value.is_empty());
        Self {
            bus: Bus::System,
            tcti: "device:/dev/tpmrm0".to_owned(),
            state_dir: state_dir.map_or_else(|| "/var/lib/signet".into(), PathBuf::from),
            boot_log: crate::boot_log::COPY.into(),
            pcrs: (0..=9).chain([12, 14]).collect(),
            pcr_bank: None,
            tls_key_pcrs: Vec::new(),
            authenticators: Authenticators::Auto,
            prompts: Prompts::Caller,
            number_matching: NumberMatching::default(),
            tpm_pin_min_length: 6,
            fprintd_bus: FprintdBus::Same,
            danger_accept_virtual_reader: false,
            tpm_handles: PersistentHandles::default(),
            danger_skip_polkit: false,
            timeouts: Timeouts::default(),
            limits: RequestLimits::default(),
            sessions: Rules::default(),
        }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            // The authority's challenge lives 120 s (protocol §2.3).
            turn: Duration::from_secs(110),
            prompt: Duration::from_secs(60),
            tpm: Duration::from_secs(10),
            cool_down: Duration::from_secs(30),
        }
    }
}

impl Default for RequestLimits {
    fn default() -> Self {
        Self { per_caller: 8, per_user: 16, total: 64 }
    }
}

impl Config {
    /// Reads the file.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
        toml::from_str(&text)
            .map_err(|source| ConfigError::Invalid { path: path.to_owned(), source })
    }

    /// The bus of fprintd.
    pub fn fprintd_bus(&self) -> &Bus {
        match &self.fprintd_bus {
            FprintdBus::Same => &self.bus,
            FprintdBus::Other(bus) => bus,
        }
    }

    /// The ceremony's limits.
    pub fn limits(&self) -> Limits {
        Limits {
            per_caller: self.limits.per_caller,
            per_user: self.limits.per_user,
            total: self.limits.total,
            // The TPM serves one command at a time; a second proof keeps its queue from idling.
            proofs: 2,
            turn: self.timeouts.turn,
            prompt: self.timeouts.prompt,
            proof: self.timeouts.tpm,
            cool_down: self.timeouts.cool_down,
        }
    }
}

impl NumberMatching {
    /// Whether an action of this name wants a number.
    pub fn covers(&self, name: &str) -> bool {
        self.0.iter().any(|pattern| match pattern.strip_suffix('*') {
            Some(beginning) => name.starts_with(beginning),
            None => name == pattern,
        })
    }
}

impl TryFrom<Vec<String>> for NumberMatching {
    type Error = &'static str;

    fn try_from(patterns: Vec<String>) -> Result<Self, Self::Error> {
        let sound = |pattern: &String| {
            !pattern.is_empty() && !pattern.strip_suffix('*').unwrap_or(pattern).contains('*')
        };
        match patterns.iter().all(sound) {
            true => Ok(Self(patterns)),
            false => Err("give names of actions; a * may stand at the end, as in \"mesh.cert.*\""),
        }
    }
}

impl From<String> for Bus {
    fn from(text: String) -> Self {
        if text == "system" { Self::System } else { Self::Address(text) }
    }
}

impl From<String> for FprintdBus {
    fn from(text: String) -> Self {
        if text == "same" { Self::Same } else { Self::Other(text.into()) }
    }
}

impl<'de> Deserialize<'de> for Authenticators {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "expected a word or a list of device nodes")]
        enum Raw {
            Word(String),
            Paths(Vec<PathBuf>),
        }
        match Raw::deserialize(deserializer)? {
            Raw::Paths(paths) => Ok(Self::Paths(paths)),
            Raw::Word(word) => match word.as_str() {
                "auto" => Ok(Self::Auto),
                "broker" => Ok(Self::Broker),
                "discover" => Ok(Self::Discover),
                _ => Err(de::Error::custom(
                    "expected \"auto\", \"broker\", \"discover\" or a list of device nodes such as \
                     [\"/dev/hidraw3\"]",
                )),
            },
        }
    }
}

fn registers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let registers = Vec::<u8>::deserialize(deserializer)?;
    if registers.is_empty() || registers.iter().any(|register| *register > 23) {
        return Err(de::Error::custom("name at least one register; they are numbered 0 to 23"));
    }
    Ok(registers)
}

fn bound_registers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let registers = Vec::<u8>::deserialize(deserializer)?;
    if registers.iter().any(|register| *register > 23) {
        return Err(de::Error::custom("registers are numbered 0 to 23"));
    }
    Ok(registers)
}

fn pin_length<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    match u32::deserialize(deserializer)? {
        length @ 4..=63 => Ok(length),
        _ => Err(de::Error::custom("give a number of characters from 4 to 63")),
    }
}

fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    match u64::deserialize(deserializer)? {
        seconds @ 1..=3600 => Ok(Duration::from_secs(seconds)),
        _ => Err(de::Error::custom("give a number of seconds from 1 to 3600")),
    }
}

fn seconds_or_none<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    match u64::deserialize(deserializer)? {
        seconds @ 0..=3600 => Ok(Duration::from_secs(seconds)),
        _ => Err(de::Error::custom("give a number of seconds from 0 to 3600")),
    }
}

fn count<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    match usize::deserialize(deserializer)? {
        count @ 1..=1024 => Ok(count),
        _ => Err(de::Error::custom("give a number from 1 to 1024")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sessions::Effect;

    fn complaint(text: &str) -> String {
        toml::from_str::<Config>(text).unwrap_err().to_string()
    }

    #[test]
    fn an_empty_file_gives_the_defaults() {
        assert_eq!(toml::from_str::<Config>("").unwrap(), Config::default());
    }

    #[test]
    fn the_example_shows_every_default() {
        let example = include_str!("../signetd.toml");
        assert_eq!(toml::from_str::<Config>(example).unwrap(), Config::default());
        let lines = example.lines().map(|line| match line.strip_prefix('#') {
            Some(value) if value.contains(" = ") && !value.starts_with(' ') => value,
            _ => line,
        });
        let spelled = lines.collect::<Vec<_>>().join("\n");
        let state_dir = Config::default().state_dir;
        let shown = Config { state_dir, ..toml::from_str(&spelled).unwrap() };
        assert_eq!(shown, Config::default());
    }

    #[test]
    fn every_value_can_be_set() {
        let config: Config = toml::from_str(
            "bus = \"unix:path=/run/test/bus\"\ntcti = \"swtpm:port=1\"\nstate_dir = \"/x\"\n\
             boot_log = \"/z\"\npcrs = [0, 23]\npcr_bank = \"sha384\"\ntls_key_pcrs = [7]\nauthenticators = [\"/dev/hidraw3\"]\nprompts = \"none\"\n\
             tpm_pin_min_length = 8\nfprintd_bus = \"unix:path=/y\"\n\
             danger_accept_virtual_reader = true\ndanger_skip_polkit = true\n\
             number_matching = [\"mesh.cert.*\", \"mesh.stop\"]\n\
             [tpm_handles]\nstorage_root = 0x8100_0001\n\
             [timeouts]\nprompt = 5\ntpm = 6\nturn = 7\ncool_down = 0\n\
             [limits]\nper_caller = 2\nper_user = 4\ntotal = 3\n\
             [sessions]\non_lock = \"end\"\non_suspend = \"ignore\"\non_unplug = \"pause\"\n",
        )
        .unwrap();
        assert_eq!(config.bus, Bus::Address("unix:path=/run/test/bus".into()));
        assert_eq!(config.authenticators, Authenticators::Paths(vec!["/dev/hidraw3".into()]));
        assert_eq!(config.prompts, Prompts::None);
        assert_eq!(config.pcr_bank, Some(PcrBank::Sha384));
        assert_eq!(config.tls_key_pcrs, [7]);
        assert_eq!(config.boot_log, PathBuf::from("/z"));
        assert_eq!(config.tpm_handles.storage_root, Some(0x8100_0001));
        assert_eq!(config.tpm_pin_min_length, 8);
        assert_eq!(config.fprintd_bus(), &Bus::Address("unix:path=/y".into()));
        assert!(config.danger_accept_virtual_reader && config.danger_skip_polkit);
        let effects = [Effect::End, Effect::Ignore, Effect::Pause];
        let Rules { on_lock, on_suspend, on_unplug } = config.sessions;
        assert_eq!([on_lock, on_suspend, on_unplug], effects);
        let limits = config.limits();
        assert_eq!((limits.per_caller, limits.per_user, limits.total), (2, 4, 3));
        assert_eq!((limits.proof, limits.cool_down), (Duration::from_secs(6), Duration::ZERO));
        let covered = ["mesh.cert.revoke", "mesh.cert.", "mesh.stop", "mesh.stopped", "mesh.cert"];
        let covered = covered.map(|name| config.number_matching.covers(name));
        assert_eq!(covered, [true, true, true, false, false]);
    }

    #[test]
    fn complaints_name_the_line_and_the_remedy() {
        for (text, expected) in [
            ("bus = \"system\"\ntpm = \"x\"", "line 2"),
            ("tcti = 1", "expected a string"),
            ("pcrs = [24]", "numbered 0 to 23"),
            ("tls_key_pcrs = [24]", "numbered 0 to 23"),
            ("pcr_bank = \"sha1\"", "sha256"),
            ("authenticators = \"all\"", "discover"),
            ("prompts = \"always\"", "expected one of `agent`, `caller`, `none`"),
            ("number_matching = [\"*.cert\"]", "at the end"),
            ("[timeouts]\ncool_down = 4000", "0 to 3600"),
            ("tpm_pin_min_length = 3", "4 to 63"),
            ("[timeouts]\nprompt = 0", "1 to 3600"),
            ("[limits]\ntotal = 5000", "1 to 1024"),
            ("[sessions]\non_lock = \"maybe\"", "one of `ignore`, `pause`, `end`"),
        ] {
            let found = complaint(text);
            assert!(found.contains(expected), "{found}");
            assert!(found.contains("line "), "{found}");
        }
    }
}
