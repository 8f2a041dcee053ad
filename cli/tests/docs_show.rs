//! docs/show.md lists every drop reason with the program's own words. `VFW_BLESS=1` rewrites the list.

use std::fmt::Write as _;

use firewall_core::DropReason;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/show.md");
const MARK: &str = "<!-- drop reasons -->\n";

#[test]
fn the_page_lists_every_drop_reason() {
    let page = std::fs::read_to_string(PAGE).expect("docs/show.md");
    let (before, listed) = page.split_once(MARK).expect("the mark");
    let mut list = String::from("| reason | meaning |\n|---|---|\n");
    for reason in DropReason::ALL {
        writeln!(list, "| `{}` | {} |", reason.name(), reason.describe().trim()).expect("a string");
    }
    if std::env::var_os("VFW_BLESS").is_some() {
        std::fs::write(PAGE, format!("{before}{MARK}{list}")).expect("docs/show.md can be written");
    } else {
        assert_eq!(listed, list, "run again with VFW_BLESS=1");
    }
}
