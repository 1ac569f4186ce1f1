//! Medians and quantiles.

/// The value that this part of the values does not exceed (nearest rank); NaN without values.
pub fn quantile(mut values: Vec<f64>, part: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let rank = (part * values.len() as f64).ceil() as usize;
    values
        .get(rank.saturating_sub(1))
        .copied()
        .unwrap_or(f64::NAN)
}

/// The value in the middle, or the mean of the two there.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => values[n / 2],
        n => (values[n / 2 - 1] + values[n / 2]) / 2.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_were_measured() {
        let values: Vec<f64> = (1..=200).rev().map(f64::from).collect();
        assert_eq!(
            (
                quantile(values.clone(), 0.99),
                quantile(values.clone(), 1.0),
                quantile(vec![7.0], 0.99)
            ),
            (198.0, 200.0, 7.0)
        );
        assert_eq!((median(values), median(vec![3.0, 1.0, 2.0])), (100.5, 2.0));
        assert!(median(Vec::new()).is_nan() && quantile(Vec::new(), 0.5).is_nan());
    }
}
