//! Copies between arrays of any strides.

/// An axis of a copy: its length, and its strides in bytes.
#[derive(Clone, Copy, Debug)]
pub(in crate::interop::zarr) struct Axis {
    pub(in crate::interop::zarr) len: usize,
    pub(in crate::interop::zarr) from: usize,
    pub(in crate::interop::zarr) to: usize,
}

/// Copies items of `run` bytes along axes in any order.
pub(in crate::interop::zarr) fn copy(
    from: &[u8],
    to: &mut [u8],
    mut axes: Vec<Axis>,
    mut run: usize,
) {
    if axes.iter().any(|axis| axis.len == 0) || run == 0 {
        return;
    }
    axes.retain(|axis| axis.len > 1);
    axes.sort_by_key(|axis| std::cmp::Reverse((axis.to, axis.from)));
    while let Some(last) = axes.last()
        && last.from == run
        && last.to == run
    {
        run *= last.len;
        axes.pop();
    }
    match run {
        1 => walk::<1>(from, to, &axes),
        2 => walk::<2>(from, to, &axes),
        4 => walk::<4>(from, to, &axes),
        8 => walk::<8>(from, to, &axes),
        16 => walk::<16>(from, to, &axes),
        _ => walk_runs(from, to, &axes, run),
    }
}

fn walk<const N: usize>(from: &[u8], to: &mut [u8], axes: &[Axis]) {
    match axes {
        [] => to[..N].copy_from_slice(&from[..N]),
        [axis] => {
            for index in 0..axis.len {
                to[index * axis.to..][..N].copy_from_slice(&from[index * axis.from..][..N]);
            }
        }
        [axis, rest @ ..] => {
            for index in 0..axis.len {
                walk::<N>(&from[index * axis.from..], &mut to[index * axis.to..], rest);
            }
        }
    }
}

fn walk_runs(from: &[u8], to: &mut [u8], axes: &[Axis], run: usize) {
    match axes {
        [] => to[..run].copy_from_slice(&from[..run]),
        [axis, rest @ ..] => {
            for index in 0..axis.len {
                walk_runs(
                    &from[index * axis.from..],
                    &mut to[index * axis.to..],
                    rest,
                    run,
                );
            }
        }
    }
}

/// The next coordinates in the order C; the first after the last.
pub(in crate::interop::zarr) fn advance(coordinates: &mut [usize], counts: &[usize]) {
    for (coordinate, &count) in coordinates.iter_mut().zip(counts).rev() {
        *coordinate += 1;
        if *coordinate < count {
            return;
        }
        *coordinate = 0;
    }
}

/// The strides of a contiguous array in the order C, in bytes.
pub(super) fn contiguous(shape: &[usize], itemsize: usize) -> Vec<usize> {
    let mut strides = vec![itemsize; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis] * shape[axis];
    }
    strides
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_follow_the_strides_of_both_sides() {
        let from: Vec<u8> = (0..24).collect();
        let mut to = vec![0; 24];
        let axis = |len, from, to| Axis { len, from, to };
        copy(
            &from,
            &mut to,
            vec![axis(2, 12, 2), axis(3, 4, 4), axis(2, 2, 12)],
            2,
        );
        let expected: Vec<u8> = (0..2)
            .flat_map(|k| (0..3).flat_map(move |j| (0..2).map(move |i| i * 12 + j * 4 + k * 2)))
            .flat_map(|at| [at, at + 1])
            .collect();
        assert_eq!(to, expected);
    }
}
