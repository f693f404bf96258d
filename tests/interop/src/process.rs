//! Programs that end with the test that started them.
//!
//! A browser is a dozen processes, and killing the first one leaves the others. Each program is therefore started in a
//! process group of its own, and dropping its [`Group`] kills the whole of it.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};

/// A program in a process group of its own. Dropping it kills every process of the group and waits until they are gone.
#[derive(Debug)]
pub struct Group {
    child: Child,
    leader: Pid,
}

impl Group {
    /// Starts `command` as the leader of a new group.
    ///
    /// # Errors
    ///
    /// What the operating system says.
    pub fn spawn(command: &mut Command) -> io::Result<Self> {
        let child = command.process_group(0).spawn()?;
        let leader = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let leader = leader.expect("a process id is positive and fits");
        Ok(Self { child, leader })
    }

    /// The leader, with the pipes that the command asked for.
    pub fn leader(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Kills every process of the group, as `SIGKILL` does: none of them can say goodbye. Waits until they are gone.
    pub fn kill(&mut self) {
        // An error says that there is none left.
        let _ = kill_process_group(self.leader, Signal::KILL);
        // The leader is ours to reap; what it started is reaped by whoever adopts it.
        let _ = self.child.wait();
        let give_up = Instant::now() + PATIENCE;
        while test_kill_process_group(self.leader).is_ok() && Instant::now() < give_up {
            thread::sleep(POLL);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

/// How long killed processes may take to be gone.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often that is looked at.
const POLL: Duration = Duration::from_millis(2);

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Read};
    use std::process::Stdio;

    use super::*;

    #[test]
    fn a_dropped_group_takes_the_children_of_its_program_with_it() {
        // The grandchild holds the pipe open: its end is the end of the pipe.
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 1000 & echo started; wait"]);
        let mut group = Group::spawn(command.stdout(Stdio::piped())).expect("starts");
        let mut output = BufReader::new(group.leader().stdout.take().expect("piped"));
        let mut line = String::new();
        output.read_line(&mut line).expect("readable");
        assert_eq!(line, "started\n");
        let leader = group.leader;
        drop(group);
        assert!(
            test_kill_process_group(leader).is_err(),
            "the group is empty"
        );
        assert_eq!(output.read_to_string(&mut line).expect("readable"), 0);
    }
}
