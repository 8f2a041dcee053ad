//! Documents as one page with plots, which needs nothing else: no script, no font, no image beside it.

mod plot;

use anyhow::Result;
use maud::{DOCTYPE, Markup, PreEscaped, html as markup};
use plotters::style::RGBColor;

use super::view::{Axis, Group, groups, path_title};
use super::{Document, Figure, Machine, Row, samples};
use plot::{Bar, Curve, Legend, bars, distribution, lines};

const STYLE: &str = include_str!("style.css");

/// Colours that most eyes tell apart (Okabe and Ito), the same for a path in all plots.
const COLORS: [(&str, RGBColor); 8] = [
    ("direct", RGBColor(0, 0, 0)),
    ("bridge", RGBColor(130, 130, 130)),
    ("routing", RGBColor(86, 180, 233)),
    ("nftables", RGBColor(204, 121, 167)),
    ("iptables", RGBColor(230, 159, 0)),
    ("vfw-tc", RGBColor(0, 114, 178)),
    ("vfw-xdp", RGBColor(213, 94, 0)),
    ("vfw-afxdp", RGBColor(0, 158, 115)),
];

fn color(path: &str) -> RGBColor {
    COLORS.into_iter().find(|(name, _)| *name == path).map_or(RGBColor(0, 114, 178), |(_, color)| color)
}

/// The page of all documents.
pub fn html(documents: &[Document]) -> Result<String> {
    let sections = documents.iter().map(section).collect::<Result<Vec<_>>>()?;
    let one_machine = documents.windows(2).all(|pair| hardware(&pair[0].machine) == hardware(&pair[1].machine));
    let page = markup! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { "vfw bench" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                h1 { "vfw bench" }
                @if let Some(first) = documents.first() {
                    p { "vfw " (first.vfw) ", " (first.started) }
                    @if one_machine { (machine(&first.machine)) }
                }
                @for (section, document) in sections.iter().zip(documents) {
                    (section)
                    @if !one_machine { (machine(&document.machine)) }
                }
            }
        }
    };
    Ok(page.into_string())
}

/// Each plot of a document as an SVG file of its own: names and texts.
pub fn pictures(document: &Document) -> Result<Vec<(String, String)>> {
    let mut pictures = Vec::new();
    for group in groups(document) {
        for (title, plot) in plots(document, &group, Legend::Inside)? {
            let words = [document.test.name(), &group.title, &title].join(" ").to_lowercase();
            let words: Vec<&str> =
                words.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).collect();
            pictures.push((words.join("-") + ".svg", plot));
        }
    }
    Ok(pictures)
}

/// What must be the same for one description to stand for several documents.
fn hardware(machine: &Machine) -> (&str, usize, &str) {
    (&machine.processor, machine.cpus, &machine.kernel)
}

fn section(document: &Document) -> Result<Markup> {
    let parts = groups(document).iter().map(|group| part(document, group)).collect::<Result<Vec<_>>>()?;
    Ok(markup! {
        section {
            h2 { (document.test.title()) }
            p { "To repeat it:" }
            pre { (document.command) }
            @if document.rounds > 1 {
                p {
                    "Medians of " (document.rounds) " rounds, taken in random order. ± is half of the range that the middle half "
                    "of the rounds lies in; the line on a bar is that range."
                }
            }
            @for note in &document.notes { p { (note) } }
            @for part in &parts { (part) }
        }
    })
}

fn part(document: &Document, group: &Group<'_>) -> Result<Markup> {
    let plots = plots(document, group, Legend::Outside)?;
    Ok(markup! {
        @if !group.title.is_empty() { h3 { (group.title) } }
        (legend(group))
        div.plots {
            @for (title, plot) in &plots {
                figure { figcaption { (title) } (PreEscaped(plot)) }
            }
        }
        (table(document, group))
    })
}

fn legend(group: &Group<'_>) -> Markup {
    markup! {
        ul.legend {
            @for path in group.paths() {
                @let RGBColor(red, green, blue) = color(path);
                li {
                    svg viewBox="0 0 32 14" aria-hidden="true" {
                        rect width="32" height="14" fill={ "rgb(" (red) "," (green) "," (blue) ")" } {}
                    }
                    (path_title(path))
                }
            }
        }
    }
}

/// Titles and plots of a group.
fn plots(document: &Document, group: &Group<'_>, legend: Legend) -> Result<Vec<(String, String)>> {
    let axis = document.test.axis().filter(|axis| group.values(*axis).len() > 1);
    let mut plots = Vec::new();
    let is_shown = |figure: &Figure| group.has(*figure) && !group.is_zero(*figure);
    for figure in document.test.figures().iter().copied().filter(is_shown) {
        let plot = match axis {
            Some(axis) => by_axis(group, axis, figure, legend)?,
            None => by_path(group, figure)?,
        };
        plots.push((figure.title().to_owned(), plot));
    }
    let curves: Vec<Curve> = group.rows.iter().filter(|row| !row.cdf_us.is_empty()).map(|row| cdf(row)).collect();
    if !curves.is_empty() {
        plots.push(("latency".to_owned(), distribution(&curves, "microseconds", legend)?));
    }
    Ok(plots)
}

fn by_axis(group: &Group<'_>, axis: Axis, figure: Figure, legend: Legend) -> Result<String> {
    let values = group.values(axis);
    let curve = |path: &str| {
        let point = |value: &u32| Some((f64::from(*value), group.row(path, axis, *value)?.median(figure)?));
        let points = values.iter().filter_map(point).collect();
        Curve { name: path_title(path), color: color(path), points, dots: true }
    };
    let curves: Vec<Curve> = group.paths().into_iter().map(curve).collect();
    let at: Vec<f64> = values.iter().copied().map(f64::from).collect();
    lines(&curves, &at, [axis.title(), figure.unit()], legend)
}

fn by_path(group: &Group<'_>, figure: Figure) -> Result<String> {
    let bar = |row: &&Row| {
        let value = row.median(figure)?;
        Some(Bar {
            name: path_title(&row.condition.path),
            color: color(&row.condition.path),
            value,
            middle_half: samples::middle_half(row.samples.get(&figure).map_or(&[value], Vec::as_slice)),
            label: figure.format(value),
        })
    };
    bars(&group.rows.iter().filter_map(bar).collect::<Vec<_>>(), figure.unit())
}

fn cdf(row: &Row) -> Curve {
    let points = row.cdf_us.iter().map(|[us, share]| (*us, *share)).collect();
    let path = &row.condition.path;
    Curve { name: path_title(path), color: color(path), points, dots: false }
}

/// Every figure of every row.
fn table(document: &Document, group: &Group<'_>) -> Markup {
    let axis = document.test.axis();
    let figures = group.figures(document.test);
    markup! {
        div.scroll {
            table {
                thead {
                    tr {
                        th { "path" }
                        @if let Some(axis) = axis { th { (axis.name()) } }
                        @for figure in &figures { th { (figure.title()) br; small { (figure.unit()) } } }
                    }
                }
                tbody {
                    @for row in &group.rows {
                        tr {
                            td { (path_title(&row.condition.path)) }
                            @if let Some(axis) = axis {
                                td { @if let Some(value) = axis.of(&row.condition) { (value) } }
                            }
                            @for figure in &figures { td { (value(row, *figure)) } }
                        }
                    }
                }
            }
        }
    }
}

fn value(row: &Row, figure: Figure) -> Markup {
    let share = row.spread(figure).filter(|_| row.samples.get(&figure).is_some_and(|all| all.len() > 1));
    markup! {
        @if let Some(median) = row.median(figure) { (figure.format(median)) }
        @if let Some(share) = share { " " small { "±" (format!("{:.0}", share * 100.0)) "%" } }
    }
}

fn machine(machine: &Machine) -> Markup {
    let cpu = machine.cpu.map_or_else(String::new, |cpu| format!(", single packets on CPU {cpu}"));
    markup! {
        dl {
            dt { "Processor" } dd { (machine.processor) ", " (machine.cpus) " CPUs" (cpu) }
            dt { "Memory" } dd { (machine.memory_mib) " MiB" }
            dt { "Kernel" } dd { "Linux " (machine.kernel) }
            @if !machine.mitigations.is_empty() { dt { "Mitigations" } dd { (machine.mitigations.join(", ")) } }
            dt { "Load before" } dd { (format!("{:.1}", machine.load)) }
            @for (interface, on) in &machine.offloads { dt { "Offloads, " (interface) } dd { (on.join(", ")) } }
            @for (program, version) in &machine.versions { dt { (program) } dd { (version) } }
        }
    }
}
