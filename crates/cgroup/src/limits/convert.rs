//! Values of cgroup v1, in which the specification is written, as cgroup v2 has them.

/// CPU shares (2 to 262144, default 1024) as a weight (1 to 10000, default 100); 0 is not set.
///
/// The curve that runc 1.3.2 and crun 1.23 took up: it goes through minimum, default and maximum of both ranges,
/// log10(weight) = (l² + 125 l) / 612 - 7 / 34 with l = log2(shares).
pub(crate) fn shares_to_weight(shares: u64) -> u64 {
    match shares {
        0 => 0,
        1..=2 => 1,
        3..262_144 => {
            let l = (shares as f64).log2();
            let exponent = (l * l + 125.0 * l) / 612.0 - 7.0 / 34.0;
            10_f64.powf(exponent).ceil() as u64
        }
        _ => 10_000,
    }
}

/// What to do about `memory.swap.max`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Swap {
    /// Nothing was said.
    Keep,
    /// No limit.
    Unlimited,
    /// So many bytes; none at all is a limit too.
    Bytes(u64),
}

/// Splits v1's limit of memory and swap together into that of swap alone.
pub(crate) fn swap_without_memory(swap: i64, memory: i64) -> Result<Swap, &'static str> {
    match (swap, memory) {
        // Unlimited memory, and no word of swap: unlimited too, as on v1.
        (0, -1) | (-1, _) => Ok(Swap::Unlimited),
        (0, _) => Ok(Swap::Keep),
        (..-1, _) => Err("a limit cannot be negative"),
        (_, -1) => Ok(Swap::Bytes(swap.unsigned_abs())),
        (_, 0) => Err("unable to set swap limit without memory limit"),
        (_, ..-1) => Err("a limit cannot be negative"),
        _ if swap < memory => Err("memory+swap limit should be >= memory limit"),
        _ => Ok(Swap::Bytes((swap - memory).unsigned_abs())),
    }
}

/// Block I/O weight (10 to 1000) as `io.weight` (1 to 10000), linearly.
pub(crate) fn io_weight(weight: u16) -> u64 {
    1 + u64::from(weight.saturating_sub(10)) * 9999 / 990
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_match_the_minimum_the_default_and_the_maximum() {
        for (shares, weight) in [(0, 0), (1, 1), (2, 1), (1024, 100), (262_144, 10_000), (u64::MAX, 10_000)] {
            assert_eq!(shares_to_weight(shares), weight, "{shares}");
        }
        // What Kubernetes and docker ask for; the values of runc 1.3.2.
        for (shares, weight) in [(3, 2), (10, 4), (102, 17), (512, 59), (2048, 174), (4096, 303), (8192, 532)]
        {
            assert_eq!(shares_to_weight(shares), weight, "{shares}");
        }
    }

    #[test]
    fn weights_never_fall_when_shares_rise() {
        let weights: Vec<u64> = (1..=262_144).map(shares_to_weight).collect();
        assert!(weights.windows(2).all(|pair| pair[0] <= pair[1]));
        assert!(weights.iter().all(|weight| (1..=10_000).contains(weight)));
    }

    #[test]
    fn swap_is_what_remains_beside_memory() {
        for (swap, memory, expect) in [
            (0, 0, Swap::Keep),
            (0, 100, Swap::Keep),
            (0, -1, Swap::Unlimited),
            (-1, 100, Swap::Unlimited),
            (-1, 0, Swap::Unlimited),
            (300, 100, Swap::Bytes(200)),
            (100, 100, Swap::Bytes(0)),
            (300, -1, Swap::Bytes(300)),
            (i64::MAX, 1, Swap::Bytes(i64::MAX as u64 - 1)),
        ] {
            assert_eq!(swap_without_memory(swap, memory), Ok(expect), "{swap} {memory}");
        }
        for (swap, memory) in [(100, 0), (50, 100), (-2, 100), (100, -2), (i64::MIN, i64::MIN)] {
            assert!(swap_without_memory(swap, memory).is_err(), "{swap} {memory}");
        }
    }

    #[test]
    fn io_weights_span_their_range() {
        for (v1, v2) in [(0, 1), (10, 1), (500, 4950), (1000, 10_000)] {
            assert_eq!(io_weight(v1), v2, "{v1}");
        }
    }
}
