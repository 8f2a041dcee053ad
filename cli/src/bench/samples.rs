//! What is said of several rounds of one measurement.

use statrs::statistics::{Data, Median as _, OrderStatistics as _};

/// The middle of `samples`, or NaN when there are none.
pub fn median(samples: &[f64]) -> f64 {
    if samples.is_empty() { f64::NAN } else { Data::new(samples.to_vec()).median() }
}

/// The range that the middle half of `samples` lies in, or NaN when there are none.
pub fn middle_half(samples: &[f64]) -> [f64; 2] {
    let mut data = Data::new(samples.to_vec());
    [data.lower_quartile(), data.upper_quartile()]
}

/// Half of [`middle_half`].
pub fn half_range(samples: &[f64]) -> f64 {
    let [low, high] = middle_half(samples);
    (high - low) / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_and_what_lies_around_it() {
        let samples = [5.0, 1.0, 4.0, 2.0, 3.0];
        assert!((median(&samples) - 3.0).abs() < 1e-9);
        assert!((median(&samples[..4]) - 3.0).abs() < 1e-9, "the mean of both that are in the middle");
        let half = half_range(&samples);
        assert!((0.9..1.5).contains(&half), "{half}");
        assert!(median(&[]).is_nan() && half_range(&[]).is_nan());
        assert!(half_range(&[7.0]).abs() < 1e-9);
    }
}
