//! What other programs take of the processors during a run: figures of a busy machine are to say so.

use std::fs;
use std::time::Instant;

/// The state at some moment.
pub(super) struct Load {
    when: Instant,
    /// Ticks that all processors were busy, and those of this process; `None` where Linux does not tell.
    ticks: Option<(u64, u64)>,
}

impl Load {
    pub(super) fn now() -> Self {
        let ticks = read("/proc/stat", machine).zip(read("/proc/self/stat", process));
        Self { when: Instant::now(), ticks }
    }

    /// How many processors others have kept busy since then, on average; 1.5 is one and a half of them.
    pub(super) fn others_since(&self) -> Option<f64> {
        let seconds = self.when.elapsed().as_secs_f64();
        let ((all_then, own_then), (all, own)) = (self.ticks?, Self::now().ticks?);
        let others = all.saturating_sub(all_then).saturating_sub(own.saturating_sub(own_then));
        let per_second = rustix::param::clock_ticks_per_second() as f64;
        (seconds > 0.0).then(|| others as f64 / per_second / seconds)
    }
}

fn read(path: &str, parse: fn(&str) -> Option<u64>) -> Option<u64> {
    parse(&fs::read_to_string(path).ok()?)
}

/// All but idle time and waiting, with what a hypervisor has given to others.
fn machine(stat: &str) -> Option<u64> {
    let fields: Vec<u64> =
        stat.lines().next()?.split_whitespace().skip(1).map_while(|n| n.parse().ok()).collect();
    let [user, nice, system, _idle, _wait, interrupts, soft_interrupts, steal, ..] = fields[..] else {
        return None;
    };
    Some(user + nice + system + interrupts + soft_interrupts + steal)
}

/// Of this process, in user mode and in the kernel.
fn process(stat: &str) -> Option<u64> {
    // The name, in brackets, may hold anything.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_read_from_the_files_of_linux() {
        assert_eq!(machine("cpu  1 2 4 1000 2000 8 16 32 0 0\ncpu0 9"), Some(63));
        assert_eq!(machine("cpu 1 2"), None);
        let line = "7 (a ) b) R 1 2 3 4 5 6 7 8 9 10 30 12 13 14";
        assert_eq!(process(line), Some(42));
    }
}
