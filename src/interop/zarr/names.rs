//! The names of the axes in a checkpoint.

use std::collections::{HashMap, HashSet};

/// Gives each axis a name, so that xarray opens the group: it needs names, and takes one name for
/// one length.
pub(super) struct Dimensions {
    lengths: HashMap<String, usize>,
    /// Names that mean an array, and so cannot be those of other axes.
    arrays: HashSet<String>,
}

impl Dimensions {
    pub(super) fn new(arrays: impl IntoIterator<Item = String>) -> Self {
        Self {
            lengths: HashMap::new(),
            arrays: arrays.into_iter().collect(),
        }
    }

    /// The names for the axes of the array `node`: the chosen ones, where they can be had.
    pub(super) fn of(
        &mut self,
        node: &str,
        chosen: &[Option<String>],
        shape: &[usize],
    ) -> Vec<String> {
        let mut names: Vec<String> = Vec::with_capacity(shape.len());
        for (axis, &len) in shape.iter().enumerate() {
            let wanted = match chosen.get(axis) {
                Some(Some(name)) if !name.is_empty() => name.clone(),
                _ => format!("{node}_dim{axis}"),
            };
            let beside = (1..).map(|number| match number {
                1 => format!("{wanted}_{node}"),
                _ => format!("{wanted}_{node}_{number}"),
            });
            let mut candidates = std::iter::once(wanted.clone()).chain(beside);
            let name = candidates.find(|name| {
                let is_coordinate = name == node && shape.len() == 1;
                (is_coordinate || !self.arrays.contains(name))
                    && !names.contains(name)
                    && self.lengths.get(name).is_none_or(|known| *known == len)
            });
            let name = name.unwrap_or(wanted);
            self.lengths.insert(name.clone(), len);
            names.push(name);
        }
        names
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_has_one_length_and_none_is_taken_twice() {
        let some = |names: &[&str]| -> Vec<_> {
            names.iter().map(|name| Some(name.to_string())).collect()
        };
        let mut dimensions = Dimensions::new(["time".into(), "xs".into(), "ys".into()]);
        assert_eq!(dimensions.of("time", &some(&["time"]), &[5]), ["time"]);
        assert_eq!(dimensions.of("xs", &some(&["t", "x"]), &[5, 3]), ["t", "x"]);
        // Another length, the same name twice, the name of an array.
        assert_eq!(
            dimensions.of("ys", &some(&["x", "x", "time", "xs"]), &[4, 4, 5, 1]),
            ["x_ys", "x_ys_2", "time_ys", "xs_ys"]
        );
        assert_eq!(dimensions.of("zs", &[], &[2, 2]), ["zs_dim0", "zs_dim1"]);
        assert_eq!(dimensions.of("t", &some(&["t"]), &[4]), ["t_t"]);
    }
}
