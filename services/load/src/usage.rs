//! What a process has used, as Linux counts it.

use std::time::Duration;

use crate::LoadError;

/// Clock ticks of `/proc`: 100 a second on every Linux machine of today.
const TICK: Duration = Duration::from_millis(10);

/// What a process has used so far, all its threads included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) cpu: Duration,
    /// The most memory it ever had.
    pub(crate) peak_bytes: u64,
}

/// What this process has used.
pub(crate) fn own() -> Option<Usage> {
    read("self")
}

/// What another process has used.
pub(crate) fn of(pid: u32) -> Result<Usage, LoadError> {
    read(&pid.to_string()).ok_or(LoadError::NoProcess { pid })
}

fn read(process: &str) -> Option<Usage> {
    let file = |name: &str| std::fs::read_to_string(format!("/proc/{process}/{name}")).ok();
    Some(Usage { cpu: cpu(&file("stat")?)?, peak_bytes: peak(&file("status")?)? })
}

/// User and system time: the 14th and 15th field. The second, a name in brackets, may hold spaces.
fn cpu(stat: &str) -> Option<Duration> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<u32>().ok();
    let (user, system) = (ticks()?, ticks()?);
    Some(TICK * user + TICK * system)
}

fn peak(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kibibytes| kibibytes * 1_024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_from_the_files_linux_has() {
        let stat = "4242 (a (b) c) S 1 2 3 0 -1 4194560 100 0 0 0 1234 66 7 8 20 0 5 0 99 0 0";
        assert_eq!(cpu(stat), Some(Duration::from_secs(13)));
        assert_eq!(peak("Name:\tx\nVmHWM:\t    2048 kB\nVmRSS:\t 1 kB\n"), Some(2 << 20));
        assert_eq!((cpu(""), peak("Name:\tx\n")), (None, None));
        assert!(own().unwrap().peak_bytes > 0);
        assert!(of(u32::MAX).is_err());
    }
}
