//! Which pages of a mapping are huge, by `/proc/self/smaps`, proc_pid_smaps(5).

use std::ops::Range;

/// Bytes of shared memory below `range` of the addresses that are mapped by huge pages, in a text
/// of the form of `/proc/self/smaps`.
pub(super) fn huge_bytes(text: &str, range: &Range<usize>) -> usize {
    let mut is_inside = false;
    let mut total = 0;
    for line in text.lines() {
        if let Some(kib) = line.strip_prefix("ShmemPmdMapped:") {
            if is_inside {
                let kib = kib.trim().strip_suffix("kB").unwrap_or_default();
                total += kib.trim().parse::<usize>().unwrap_or(0) * 1024;
            }
        } else if let Some(addresses) = addresses(line) {
            is_inside = range.start <= addresses.start && addresses.end <= range.end;
        }
    }
    total
}

/// The addresses in the first line of a mapping.
fn addresses(line: &str) -> Option<Range<usize>> {
    let (start, end) = line.split(' ').next()?.split_once('-')?;
    Some(hexadecimal(start)?..hexadecimal(end)?)
}

fn hexadecimal(text: &str) -> Option<usize> {
    usize::from_str_radix(text, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_huge_pages_inside_of_the_range_count() {
        let text = "7f0000000000-7f0000600000 rw-s 00000000 00:17 4 /dev/shm/a-b c\n\
                    Size:               6144 kB\n\
                    AnonHugePages:      2048 kB\n\
                    ShmemPmdMapped:     4096 kB\n\
                    VmFlags: rd wr sh\n\
                    7f0000600000-7f0000800000 r--s 00600000 00:17 4 /dev/shm/a-b c\n\
                    ShmemPmdMapped:     2048 kB\n\
                    7f0000800000-7f0000a00000 r--s 00600000 00:17 5 /dev/shm/d\n\
                    ShmemPmdMapped:     2048 kB\n";
        let range = 0x7f00_0000_0000..0x7f00_0080_0000;
        assert_eq!(huge_bytes(text, &range), 6 << 20);
        assert_eq!(huge_bytes(text, &(0..0x7f00_0000_0000)), 0);
        assert_eq!(
            huge_bytes("a-b c\nShmemPmdMapped: x\n", &(0..usize::MAX)),
            0
        );
    }
}
