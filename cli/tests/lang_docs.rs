//! `docs/rules.md` says what the parser does.
//!
//! `VFW_BLESS=1 cargo test -p vfw --test lang_docs` writes the reference tables anew.

use std::fs;
use std::path::{Path, PathBuf};

use vfw::lang::{SourceFile, load, parse, registry, render};

const BEGIN: &str = "<!-- reference -->\n";
const END: &str = "<!-- end of reference -->";

fn page() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/rules.md")
}

fn text() -> String {
    fs::read_to_string(page()).expect("docs/rules.md")
}

#[test]
fn the_reference_lists_every_row_of_the_registry() {
    let text = text();
    let (before, rest) = text.split_once(BEGIN).expect("where the reference begins");
    let (found, after) = rest.split_once(END).expect("where the reference ends");
    let wanted = format!("\n{}\n", registry::reference());
    if std::env::var_os("VFW_BLESS").is_some() {
        fs::write(page(), format!("{before}{BEGIN}{wanted}{END}{after}")).expect("write");
        return;
    }
    assert_eq!(found, wanted, "docs/rules.md is not what the parser knows; VFW_BLESS=1 writes it");
}

#[test]
fn examples_in_the_page_can_be_read() {
    let text = text();
    let blocks: Vec<&str> = text.split("```fw\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(blocks.len() >= 7);
    for block in &blocks {
        let file = SourceFile::new("docs/rules.md", *block);
        if let Err(errors) = parse(&file) {
            panic!("{}", render(&errors, std::slice::from_ref(&file), false, 100));
        }
    }
    assert!(load(&[SourceFile::new("docs/rules.md", blocks[0])]).expect("the first is whole").warnings.is_empty());
}

#[test]
fn examples_of_keywords_can_be_read() {
    for row in registry::KEYWORDS {
        let example = match row.place {
            registry::Place::Statement => row.example.to_owned(),
            registry::Place::Zone if row.text == "address" => {
                format!("zone z {{ interface eth1  {} }}", row.example)
            }
            registry::Place::Zone if row.text == "interface" => {
                format!("zone z {{ {}  address 10.0.0.1/24 }}", row.example)
            }
            registry::Place::Zone => format!("zone z {{ interface eth1  {}  address 10.0.0.1/24 }}", row.example),
            registry::Place::Route => format!("route 0.0.0.0/0 {}", row.example),
            registry::Place::Rule if row.example.starts_with("allow") => row.example.to_owned(),
            registry::Place::Rule => format!("allow a -> b  {}", row.example),
            registry::Place::Service => format!("service s = {}", row.example),
        };
        assert!(parse(&SourceFile::new("example", example.as_str())).is_ok(), "{example}");
    }
}
