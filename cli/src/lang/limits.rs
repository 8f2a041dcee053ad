//! What a policy may not exceed. `docs/rules.md` prints this table.

/// Most bytes of rules, all files together.
pub const BYTES: usize = 16 << 20;
/// Longest line, in bytes.
pub const LINE: usize = 65_536;
/// Longest name of a zone, set or service.
pub const NAME: usize = 63;
/// Longest label of `log`, in bytes.
pub const LABEL: usize = 63;
/// Longest name of a test, in bytes.
pub const TEST_NAME: usize = 255;
/// Most zones.
pub const ZONES: usize = 1024;
/// Most gateway addresses of a zone.
pub const ADDRESSES: usize = 16;
/// Most routes.
pub const ROUTES: usize = 4096;
/// Most rules.
pub const RULES: usize = 131_072;
/// Most members of all sets, and of all services, counted after expansion.
pub const MEMBERS: usize = 2 << 20;
/// Most prefixes and services of all rules, counted after expansion.
pub const EXPANDED: usize = 16 << 20;

/// Every limit with what it counts.
pub const ROWS: &[(&str, usize)] = &[
    ("bytes of rules, all files together", BYTES),
    ("bytes in a line", LINE),
    ("characters in a name", NAME),
    ("bytes in a label of `log`", LABEL),
    ("bytes in the name of a test", TEST_NAME),
    ("zones", ZONES),
    ("gateway addresses of a zone", ADDRESSES),
    ("routes", ROUTES),
    ("rules", RULES),
    ("members of all sets together, nested ones counted each time", MEMBERS),
    ("members of all services together, nested ones counted each time", MEMBERS),
    ("prefixes and services of all rules together, after expansion", EXPANDED),
];
