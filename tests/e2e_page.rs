//! The page of `vfw bench report` as people see it, on a desk and on a phone: what a real browser paints.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};
use vfw_tests::browser::{Browser, Picture};

const PROGRAM: &str = env!("CARGO_BIN_EXE_vfw-under-test");
const PATHS: [&str; 8] = ["direct", "bridge", "routing", "nftables", "iptables", "vfw-tc", "vfw-xdp", "vfw-afxdp"];
/// Width and height of the windows.
const DESK: (u32, u32) = (1280, 900);
const PHONE: (u32, u32) = (390, 844);
/// Pixels that a curve, or a bar, has at least where it is seen; letters of a bar's label have fewer of one colour.
const SEEN: [usize; 2] = [20, 250];

/// A folder that goes with the test.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A report with rows of all paths, whose figures differ so that no curve hides another.
fn report(test: &str, condition: &Value, axis: Option<(&str, &[u32])>, figures: &[(&str, f64)]) -> Value {
    let mut rows = Vec::new();
    for (number, path) in (0u8..).zip(PATHS) {
        for (place, value) in (0u8..).zip(axis.map_or(&[0][..], |(_, values)| values)) {
            let mut row = condition.clone();
            row["path"] = path.into();
            if let Some((name, _)) = axis {
                row[name] = (*value).into();
            }
            for (figure, base) in figures {
                let median = base * (1.0 + 0.3 * f64::from(number)) * (1.0 + 0.4 * f64::from(place));
                row[figure] = median.into();
                row["samples"][figure] = json!([median * 0.96, median, median * 1.05]);
            }
            if test == "rr" {
                let us = |percent: u32| (20.0 + 6.0 * f64::from(number)) * (1.0 + f64::from(percent) / 80.0);
                row["cdf_us"] = (1..=100).map(|percent| json!([us(percent), f64::from(percent) / 100.0])).collect();
            }
            rows.push(row);
        }
    }
    json!({
        "format": "vfw-bench", "version": 1, "test": test, "rounds": 3, "started": "2026-01-01T00:00:00Z", "vfw": "0.1.0",
        "command": format!("vfw bench {test} --lab --paths direct,bridge,routing,nftables,iptables,vfw-tc,vfw-xdp,vfw-afxdp --json"),
        "notes": ["A note that is longer than a line of a phone, as those about what could not be measured are."],
        "machine": { "processor": "A Processor With A Long Name, 64 Cores", "cpus": 64, "memory_mib": 65536, "kernel": "6.18.0",
            "mitigations": ["retpolines", "safe-ret"], "load": 0.1,
            "offloads": { "client": ["rx-checksum", "tx-checksum-ip-generic", "tcp-segmentation-offload"] } },
        "results": rows,
    })
}

/// Reports with both kinds of plots, a page of them, and its address.
fn page(name: &str) -> (Folder, String) {
    let folder = Folder(std::env::temp_dir().join(format!("vfw-page-{name}-{}", std::process::id())));
    fs::create_dir_all(&folder.0).expect("a folder");
    let reports = [
        report(
            "range",
            &json!({ "protocol": "tcp" }),
            Some(("size", &[64, 1024, 65_536])),
            &[("mbps", 300.0), ("cpu_s_per_gbit", 0.4)],
        ),
        report(
            "rr",
            &json!({ "protocol": "tcp", "size": 1, "cpus": "awake" }),
            None,
            &[("transactions", 15_000.0), ("p99_us", 90.0)],
        ),
        report(
            "flood",
            &json!({ "protocol": "tcp", "size": 1, "flood": "syn" }),
            None,
            &[("kept", 0.3), ("transactions", 9_000.0)],
        ),
    ];
    let files: Vec<String> = reports
        .iter()
        .map(|report| {
            let path = folder.0.join(format!("{}.json", report["test"].as_str().expect("a name")));
            fs::write(&path, report.to_string()).expect("a report");
            path.display().to_string()
        })
        .collect();
    let page = folder.0.join("page.html");
    let status = Command::new(PROGRAM).args(["bench", "report", "--html"]).arg(&page).args(files).status();
    assert!(status.expect("vfw runs").success());
    let url = format!("file://{}", page.display());
    (folder, url)
}

/// Where each plot paints its data, and the colours of the legend above it.
const PLOTS: &str = r#"
[...document.querySelectorAll("figure")].map(figure => {
    const box = figure.querySelector("svg").getBoundingClientRect();
    const view = figure.querySelector("svg").viewBox.baseVal;
    const items = [...figure.closest(".plots").previousElementSibling.querySelectorAll("li")];
    return {
        title: figure.querySelector("figcaption").textContent,
        bars: figure.querySelectorAll("rect").length > 1,
        left: box.left + scrollX, top: box.top + scrollY, scale: box.width / view.width, width: view.width, height: view.height,
        series: Object.fromEntries(items.map(item => [item.textContent.trim(), item.querySelector("rect").getAttribute("fill")])),
    };
})"#;

/// A plot on the page.
#[derive(serde::Deserialize)]
struct Plot {
    title: String,
    bars: bool,
    left: f64,
    top: f64,
    scale: f64,
    width: f64,
    height: f64,
    series: BTreeMap<String, String>,
}

impl Plot {
    /// Pixels of nearly this colour where the data is, without the axes and their letters.
    #[allow(clippy::cast_sign_loss, reason = "places on a page")]
    fn count(&self, picture: &Picture, color: [u8; 3]) -> usize {
        let place = |from: f64, at: f64| (from + at * self.scale).round() as usize;
        let (left, right) =
            (place(self.left, if self.bars { 98.0 } else { 66.0 }), place(self.left, self.width - 12.0));
        let (top, bottom) = (place(self.top, 4.0), place(self.top, self.height - 58.0));
        let is_near = |pixel: &&[u8; 3]| pixel.iter().zip(color).all(|(one, other)| one.abs_diff(other) <= 6);
        let rows = picture.pixels.chunks_exact(picture.width).take(bottom).skip(top);
        rows.map(|row| row[left..right].iter().filter(is_near).count()).sum()
    }

    /// The series that nobody can see.
    fn missing(&self, picture: &Picture) -> Vec<String> {
        let is_missing = |(_, fill): &(&String, &String)| {
            let parts: Vec<u8> =
                fill.split(|c: char| !c.is_ascii_digit()).filter_map(|part| part.parse().ok()).collect();
            let color: [u8; 3] = parts.try_into().expect("three parts");
            // Bars are painted with 85 % of it, on white.
            let color =
                if self.bars { color.map(|part| ((u32::from(part) * 85 + 255 * 15) / 100) as u8) } else { color };
            self.count(picture, color) < SEEN[usize::from(self.bars)]
        };
        self.series.iter().filter(is_missing).map(|(name, _)| format!("{}: {name}", self.title)).collect()
    }
}

/// What nobody can see of the page's plots in a window of this size.
fn missing(browser: &mut Browser, picture: &Picture) -> Vec<String> {
    let plots: Vec<Plot> = serde_json::from_value(browser.evaluate(PLOTS)).expect("plots");
    assert_eq!(plots.len(), 2 + 3 + 2, "two of range, three of rr, two of flood");
    for plot in &plots {
        assert_eq!(plot.series.len(), PATHS.len(), "{}", plot.title);
    }
    plots.iter().flat_map(|plot| plot.missing(picture)).collect()
}

#[test]
fn every_series_is_seen_on_a_desk_and_on_a_phone() {
    let (folder, url) = page("seen");
    let mut browser = Browser::start(&folder.0.join("browser"));
    for (name, (width, height)) in [("desk", DESK), ("phone", PHONE)] {
        browser.open(&url, width, height);
        let picture = browser.picture();
        if let Some(kept) = std::env::var_os("VFW_PICTURES") {
            fs::write(PathBuf::from(kept).join(format!("{name}.png")), &picture.file).expect("a picture");
        }
        assert_eq!(picture.width, width as usize, "{name}: the page is wider than the window");
        let wide = browser.evaluate("document.documentElement.scrollWidth");
        assert!(wide.as_u64() <= Some(u64::from(width)), "{name}: it scrolls sideways: {wide}");
        assert_eq!(missing(&mut browser, &picture), [""; 0], "{name}");
        assert_eq!(browser.complaints(&url), [""; 0], "{name}");
    }
}

#[test]
fn what_is_not_painted_is_missed() {
    let (folder, url) = page("missed");
    let mut browser = Browser::start(&folder.0.join("browser"));
    browser.open(&url, PHONE.0, PHONE.1);
    // The elements stay; their paint goes.
    browser.evaluate("document.querySelectorAll('figure svg [fill=\"#D55E00\"], figure svg [stroke=\"#D55E00\"]').forEach(e => e.style.display = 'none')");
    let picture = browser.picture();
    let gone = missing(&mut browser, &picture);
    assert!(gone.len() == 7 && gone.iter().all(|one| one.ends_with(": vfw xdp")), "{gone:?}");
    browser.evaluate("console.error('a complaint'); fetch('other.json').catch(() => {})");
    assert_eq!(browser.complaints(&url).iter().filter(|one| one.contains("a complaint")).count(), 1);
}
