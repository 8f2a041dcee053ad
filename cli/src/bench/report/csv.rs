//! A document as comma-separated values: a line for each row, for spreadsheets. Rounds are in the JSON only.

use csv::Writer;
use serde_json::Value;

use super::{Document, Figure, samples};

/// Parts of a condition, as JSON names them.
const PARTS: [&str; 12] = [
    "path",
    "family",
    "protocol",
    "size",
    "streams",
    "cpus",
    "flows",
    "rules",
    "frame_size",
    "load_percent",
    "traffic",
    "flood",
];

/// All rows: parts of the condition and figures that any of them has; `_half_range` behind a figure is half of the range that
/// the middle half of its rounds lies in.
pub fn csv(document: &Document) -> anyhow::Result<String> {
    let conditions: Vec<Value> =
        document.results.iter().map(|row| serde_json::to_value(&row.condition)).collect::<Result<_, _>>()?;
    let parts: Vec<&str> = PARTS.into_iter().filter(|part| conditions.iter().any(|c| c.get(part).is_some())).collect();
    let has = |figure: &Figure| document.results.iter().any(|row| row.median(*figure).is_some());
    let figures: Vec<Figure> = Figure::ALL.into_iter().filter(has).collect();
    let mut writer = Writer::from_writer(Vec::new());
    let names = figures.iter().flat_map(|figure| [figure.name().to_owned(), format!("{}_half_range", figure.name())]);
    writer.write_record(parts.iter().map(|part| (*part).to_owned()).chain(names))?;
    for (row, condition) in document.results.iter().zip(&conditions) {
        let part = |part: &&str| condition.get(*part).map(text).unwrap_or_default();
        let figure = |figure: &Figure| {
            let half = row.samples.get(figure).map(|all| samples::half_range(all));
            [row.median(*figure), half].map(|value| value.map(|value| value.to_string()).unwrap_or_default())
        };
        writer.write_record(parts.iter().map(part).chain(figures.iter().flat_map(figure)))?;
    }
    Ok(String::from_utf8(writer.into_inner()?)?)
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
