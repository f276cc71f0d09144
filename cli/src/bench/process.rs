//! What a process uses, as Linux' /proc tells it.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// A clock tick of /proc/<pid>/stat: Linux' USER_HZ is 100 wherever it shows itself to a program.
const TICK: Duration = Duration::from_millis(10);

/// A process to look at.
#[derive(Clone, Debug)]
pub(super) struct Process(PathBuf);

impl Process {
    /// The one with this id.
    pub(super) fn of(pid: u32) -> Process {
        Process(format!("/proc/{pid}").into())
    }

    /// This one.
    pub(super) fn own() -> Process {
        Process("/proc/self".into())
    }

    /// The processor time that it has used so far, in its own code and in the kernel.
    ///
    /// # Errors
    /// It is gone, or this is no Linux.
    pub(super) fn cpu(&self) -> io::Result<Duration> {
        cpu_in(&std::fs::read_to_string(self.0.join("stat"))?).ok_or_else(|| unreadable("stat"))
    }

    /// The same, with that of every process beneath it that is there now.
    ///
    /// # Errors
    /// It is gone, or this is no Linux.
    pub(super) fn cpu_with_descendants(&self) -> io::Result<Duration> {
        let own = std::fs::read_to_string(self.0.join("stat"))?;
        let (own, _) = own.split_once(' ').ok_or_else(|| unreadable("stat"))?;
        let mut beneath: HashMap<u32, Vec<(u32, Duration)>> = HashMap::new();
        for entry in std::fs::read_dir("/proc")? {
            // Whoever has ended in the meantime is none that is there now.
            let Ok(stat) = std::fs::read_to_string(entry?.path().join("stat")) else { continue };
            let pid = stat.split_once(' ').and_then(|(pid, _)| pid.parse().ok());
            if let (Some(pid), Some(parent), Some(cpu)) = (pid, parent_in(&stat), cpu_in(&stat)) {
                beneath.entry(parent).or_default().push((pid, cpu));
            }
        }
        let mut sum = self.cpu()?;
        let mut parents = vec![own.parse().map_err(|_| unreadable("stat"))?];
        while let Some(parent) = parents.pop() {
            // Each is the child of one, so that none is counted twice.
            for (pid, cpu) in beneath.remove(&parent).unwrap_or_default() {
                sum += cpu;
                parents.push(pid);
            }
        }
        Ok(sum)
    }

    /// The memory that it holds now, in bytes.
    ///
    /// # Errors
    /// It is gone, or this is no Linux.
    pub(super) fn resident_bytes(&self) -> io::Result<u64> {
        resident_in(&std::fs::read_to_string(self.0.join("status"))?).ok_or_else(|| unreadable("status"))
    }
}

fn unreadable(file: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("/proc/<pid>/{file} does not read"))
}

/// Fields 14 and 15; the second field, the name in brackets, may hold anything.
fn cpu_in(stat: &str) -> Option<Duration> {
    let mut fields = stat.rsplit_once(") ")?.1.split(' ').skip(11);
    let user: u32 = fields.next()?.parse().ok()?;
    let system: u32 = fields.next()?.parse().ok()?;
    Some(TICK * (user + system))
}

/// Field 4.
fn parent_in(stat: &str) -> Option<u32> {
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}

fn resident_in(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_reads_whatever_the_name_is() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 4 0 1 1 1";
        assert_eq!(cpu_in(stat), Some(Duration::from_secs(3)));
        assert_eq!(parent_in(stat), Some(1));
        assert_eq!(resident_in("Name:\tx\nVmRSS:\t   2048 kB\nRssAnon:\t1 kB\n"), Some(2 * 1024 * 1024));
    }

    #[test]
    fn what_is_beneath_a_process_counts_with_it() {
        // A shell that starts another, which is busy until it has used a tick and more, says so, and stays.
        let busy = "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done; echo; read -r line; exit 0";
        let mut shell = std::process::Command::new("sh")
            .args(["-c", &format!("sh -c '{busy}'; exit 0")])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = [0];
        io::Read::read_exact(shell.stdout.as_mut().unwrap(), &mut said).unwrap();
        let process = Process::of(shell.id());
        let (alone, whole) = (process.cpu().unwrap(), process.cpu_with_descendants().unwrap());
        drop(shell.stdin.take());
        shell.wait().unwrap();
        assert!(whole > alone, "{whole:?} with the one beneath, {alone:?} alone");
    }

    #[test]
    fn this_process_uses_something() {
        assert!(Process::own().cpu().is_ok());
        assert!(Process::own().resident_bytes().unwrap() > 1024);
    }
}
