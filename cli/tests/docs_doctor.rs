//! docs/doctor.md lists every check with the program's own words. `VFW_BLESS=1` rewrites the list.

use std::fmt::Write as _;

use vfw::doctor::checks;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/doctor.md");
const MARK: &str = "<!-- checks -->\n";

#[test]
fn the_page_lists_every_check() {
    let page = std::fs::read_to_string(PAGE).expect("docs/doctor.md");
    let (before, listed) = page.split_once(MARK).expect("the mark");
    let mut list = String::from("| check | asks | because | known from |\n|---|---|---|---|\n");
    for check in checks::all() {
        writeln!(list, "| `{}` | {} | {} | {} |", check.name, check.asks, check.why, check.source).expect("a string");
    }
    if std::env::var_os("VFW_BLESS").is_some() {
        std::fs::write(PAGE, format!("{before}{MARK}{list}")).expect("docs/doctor.md can be written");
    } else {
        assert_eq!(listed, list, "run again with VFW_BLESS=1");
    }
}
