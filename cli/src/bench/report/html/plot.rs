//! Plots as SVG text. They are narrow, so that their letters can be read on a phone.

use std::ops::Range;

use anyhow::Result;
use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint};
use plotters::prelude::*;

/// Width and height of a plot, before the page scales it.
const SIZE: (u32, u32) = (480, 320);
/// Height of a bar and of what surrounds all bars.
const BAR: u32 = 30;
const BARS_MARGIN: u32 = 64;
const FONT: (&str, u32) = ("sans-serif", 17);
/// Values further apart than this factor are shown on a logarithmic axis.
const WIDE: f64 = 30.0;

/// A curve of a plot.
pub struct Curve {
    /// What a legend calls it.
    pub name: String,
    /// Its colour.
    pub color: RGBColor,
    /// Its points, ascending.
    pub points: Vec<(f64, f64)>,
    /// Whether the points themselves are shown.
    pub dots: bool,
}

/// A bar of a plot.
pub struct Bar {
    /// What stands beside it.
    pub name: String,
    /// Its colour.
    pub color: RGBColor,
    /// Its length.
    pub value: f64,
    /// Where the middle half of the rounds begins and ends.
    pub middle_half: [f64; 2],
    /// The value as readers see it.
    pub label: String,
}

/// How numbers become places.
#[derive(Clone, Debug, PartialEq)]
struct Scale {
    is_log: bool,
    range: [f64; 2],
    ticks: Vec<f64>,
}

impl Scale {
    /// For an axis that holds all of `values`, logarithmic when they are far apart.
    fn fit(values: impl Iterator<Item = f64> + Clone) -> Self {
        let high = values.clone().fold(0.0, f64::max);
        let low = values.filter(|value| *value > 0.0).fold(high, f64::min);
        if high > low * WIDE { Self::logarithmic(low, high) } else { Self::linear(high) }
    }

    /// From zero on.
    fn linear(high: f64) -> Self {
        let high = if high > 0.0 { high } else { 1.0 };
        let rough = high / 5.0;
        let decade = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|step| step * decade).find(|step| *step >= rough);
        let step = step.unwrap_or(rough);
        let ticks = (0..=6).map(|number| f64::from(number) * step).filter(|tick| *tick <= high * 1.08).collect();
        Self { is_log: false, range: [0.0, high * 1.08], ticks }
    }

    /// Over whole decades at the low end.
    fn logarithmic(low: f64, high: f64) -> Self {
        let first = low.log10().floor() as i32;
        let ticks = (first..=high.log10().floor() as i32).map(|decade| 10f64.powi(decade)).collect();
        Self { is_log: true, range: [10f64.powi(first), high * 1.5], ticks }
    }

    /// For an axis with exactly these values, spaced by their ratios.
    fn at(values: &[f64]) -> Self {
        let (low, high) = values.iter().fold((f64::MAX, 1.0), |(low, high), value| (value.min(low), value.max(high)));
        Self { is_log: true, range: [low.max(f64::MIN_POSITIVE) / 1.3, high * 1.3], ticks: values.to_vec() }
    }

    fn place(&self, value: f64) -> f64 {
        if self.is_log { value.max(self.range[0]).log10() } else { value }
    }

    fn value(&self, place: f64) -> f64 {
        if self.is_log { 10f64.powf(place) } else { place }
    }

    fn coordinate(&self) -> Marked {
        let [low, high] = self.range.map(|end| self.place(end));
        Marked { range: low..high, ticks: self.ticks.iter().map(|tick| self.place(*tick)).collect() }
    }

    fn label(&self, place: f64) -> String {
        short(self.value(place))
    }
}

/// A range with marks of our choice.
struct Marked {
    range: Range<f64>,
    ticks: Vec<f64>,
}

impl Ranged for Marked {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (start, end): (i32, i32)) -> i32 {
        let share = (value - self.range.start) / (self.range.end - self.range.start);
        start + (share * f64::from(end - start)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _: Hint) -> Vec<f64> {
        self.ticks.clone()
    }

    fn range(&self) -> Range<f64> {
        self.range.clone()
    }
}

/// A number in few letters.
fn short(value: f64) -> String {
    let whole = value.round();
    if (value - whole).abs() > 1e-6 * value.abs() {
        return format!("{value:.3}").trim_end_matches('0').to_owned();
    }
    match whole {
        // Sizes of messages.
        w if w >= 4096.0 && w % 1024.0 == 0.0 => format!("{}Ki", w / 1024.0),
        w if w >= 1e6 && w % 1e5 == 0.0 => format!("{}M", w / 1e6),
        w if w >= 1e4 && w % 1e3 == 0.0 => format!("{}k", w / 1e3),
        w => format!("{w}"),
    }
}

/// Whether a plot says itself what its colours mean, or the page around it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Legend {
    /// In the plot.
    Inside,
    /// Around it.
    Outside,
}

/// The corner of a plot that its curves leave free.
#[derive(Clone, Copy)]
enum Corner {
    UpperLeft,
    LowerRight,
}

/// Curves over values that a test chose: each of `at` is marked on the axis.
pub fn lines(curves: &[Curve], at: &[f64], titles: [&str; 2], legend: Legend) -> Result<String> {
    let y = Scale::fit(curves.iter().flat_map(|curve| curve.points.iter().map(|(_, y)| *y)));
    draw(curves, &Scale::at(at), &y, titles, (legend, Corner::UpperLeft))
}

/// Distributions: the share of transactions that took no longer.
pub fn distribution(curves: &[Curve], x_title: &str, legend: Legend) -> Result<String> {
    let x = Scale::fit(curves.iter().flat_map(|curve| curve.points.iter().map(|(x, _)| *x)));
    let y = Scale { is_log: false, range: [0.0, 1.02], ticks: vec![0.0, 0.25, 0.5, 0.75, 0.9, 1.0] };
    draw(curves, &x, &y, [x_title, "share of transactions"], (legend, Corner::LowerRight))
}

fn draw(
    curves: &[Curve],
    x: &Scale,
    y: &Scale,
    [x_title, y_title]: [&str; 2],
    (legend, corner): (Legend, Corner),
) -> Result<String> {
    let mut text = String::new();
    {
        let area = SVGBackend::with_string(&mut text, SIZE).into_drawing_area();
        area.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&area)
            .margin(8)
            .margin_right(16)
            .x_label_area_size(50)
            .y_label_area_size(66)
            .build_cartesian_2d(x.coordinate(), y.coordinate())?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(BLACK.mix(0.12))
            .axis_style(BLACK.mix(0.5))
            .label_style(FONT)
            .axis_desc_style(FONT)
            .x_desc(x_title)
            .y_desc(y_title)
            .x_label_formatter(&|place| x.label(*place))
            .y_label_formatter(&|place| y.label(*place))
            .draw()?;
        for curve in curves {
            let points = || curve.points.iter().map(|point| (x.place(point.0), y.place(point.1)));
            let (style, color) = (curve.color.stroke_width(2), curve.color);
            chart
                .draw_series(LineSeries::new(points(), style))?
                .label(curve.name.clone())
                .legend(move |(x, y)| Rectangle::new([(x, y - 4), (x + 18, y + 4)], color.filled()));
            if curve.dots {
                chart.draw_series(points().map(|point| Circle::new(point, 3, curve.color.filled())))?;
            }
        }
        if legend == Legend::Inside {
            chart
                .configure_series_labels()
                .position(match corner {
                    Corner::UpperLeft => SeriesLabelPosition::UpperLeft,
                    Corner::LowerRight => SeriesLabelPosition::LowerRight,
                })
                .label_font(FONT)
                .background_style(WHITE.mix(0.8))
                .draw()?;
        }
        area.present()?;
    }
    Ok(text)
}

/// Bars from the left, the first on top.
pub fn bars(bars: &[Bar], title: &str) -> Result<String> {
    let count = bars.len() as u32;
    let scale = Scale::linear(bars.iter().map(|bar| bar.value.max(bar.middle_half[1])).fold(0.0, f64::max) * 1.12);
    let mut text = String::new();
    {
        let size = (SIZE.0, BARS_MARGIN + count * BAR);
        let area = SVGBackend::with_string(&mut text, size).into_drawing_area();
        area.fill(&WHITE)?;
        let rows = Marked { range: -0.6..f64::from(count) - 0.4, ticks: (0..count).map(f64::from).collect() };
        let mut chart = ChartBuilder::on(&area)
            .margin(8)
            .margin_right(16)
            .x_label_area_size(48)
            .y_label_area_size(88)
            .build_cartesian_2d(scale.coordinate(), rows)?;
        let name = |row: &f64| {
            let is_there = |(number, _): &(usize, &Bar)| (f64::from(count) - 1.0 - *number as f64 - row).abs() < 0.1;
            bars.iter().enumerate().find(is_there).map_or_else(String::new, |(_, bar)| bar.name.clone())
        };
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(BLACK.mix(0.12))
            .disable_y_mesh()
            .axis_style(BLACK.mix(0.5))
            .label_style(FONT)
            .axis_desc_style(FONT)
            .x_desc(title)
            .x_label_formatter(&|place| scale.label(*place))
            .y_label_formatter(&name)
            .draw()?;
        for (number, bar) in bars.iter().enumerate() {
            let row = f64::from(count) - 1.0 - number as f64;
            let corners = [(0.0, row - 0.32), (bar.value.max(0.0), row + 0.32)];
            chart.draw_series([Rectangle::new(corners, bar.color.mix(0.85).filled())])?;
            let [low, high] = bar.middle_half;
            chart.draw_series([PathElement::new([(low.max(0.0), row), (high.max(0.0), row)], BLACK.mix(0.6))])?;
            let beside = (bar.value.max(high).max(0.0) + scale.range[1] * 0.012, row + 0.24);
            chart.draw_series([Text::new(bar.label.clone(), beside, FONT)])?;
        }
        area.present()?;
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_fit_what_they_show() {
        let linear = Scale::fit([8.0, 9.5].into_iter());
        assert_eq!((linear.is_log, linear.ticks), (false, vec![0.0, 2.0, 4.0, 6.0, 8.0, 10.0]));
        let wide = Scale::fit([3.0, 17_000.0].into_iter());
        assert_eq!((wide.is_log, wide.ticks), (true, vec![1.0, 10.0, 100.0, 1_000.0, 10_000.0]));
        let nothing = Scale::fit([0.0].into_iter());
        assert!(nothing.range[1] > 0.0, "an axis without length cannot be drawn");
    }

    #[test]
    fn numbers_are_short() {
        let said = [0.25, 0.5, 1.0, 1024.0, 65_536.0, 10_000.0, 1e6, 2.5e6].map(short);
        assert_eq!(said, ["0.25", "0.5", "1", "1024", "64Ki", "10k", "1M", "2.5M"]);
    }
}
