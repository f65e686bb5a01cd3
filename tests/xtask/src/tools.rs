//! What the tests need beside a Rust toolchain, and how it comes onto a Debian-like machine.

use std::process::{Command, Stdio};

use crate::run::{Failure, command};

/// A program that tests start.
pub(crate) struct Tool {
    /// A command that succeeds where the tool is there.
    probe: &'static [&'static str],
    /// The packages that bring it.
    packages: &'static [&'static str],
    /// What it is for.
    why: &'static str,
}

/// For all tests.
pub(crate) const TESTS: &[Tool] = &[
    Tool {
        probe: &["node", "--version"],
        packages: &["nodejs"],
        why: "an example worker is written for it",
    },
    Tool {
        probe: &["python3", "--version"],
        packages: &["python3"],
        why: "an example worker and a mail server are written in it",
    },
    Tool {
        probe: &["python3", "-m", "pip", "--version"],
        packages: &["python3-pip"],
        why: "it fetches that mail server",
    },
    Tool { probe: &["strace", "-V"], packages: &["strace"], why: "disks that fail" },
    Tool { probe: &["cc", "--version"], packages: &["gcc", "libc6-dev"], why: "linking" },
];

/// For the faults that need root.
pub(crate) const FAULTS: &[Tool] = &[
    Tool { probe: &["strace", "-V"], packages: &["strace"], why: "disks that fail" },
    Tool { probe: &["ip", "-V"], packages: &["iproute2"], why: "networks that are cut" },
    Tool { probe: &["faketime", "--version"], packages: &["faketime"], why: "clocks that jump" },
    Tool { probe: &["mkfs.ext4", "-V"], packages: &["e2fsprogs"], why: "disks of their own" },
];

/// For counting instructions.
pub(crate) const INSTRUCTIONS: &[Tool] = &[Tool {
    probe: &["valgrind", "--version"],
    packages: &["valgrind"],
    why: "it counts instructions",
}];

/// Installs those that are missing, after saying so.
///
/// # Errors
/// When they can't be installed: the message has the command to type.
pub(crate) fn install(tools: &[Tool]) -> Result<(), Failure> {
    let missing: Vec<&Tool> = tools.iter().filter(|tool| !is_there(tool.probe)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let packages: Vec<&str> =
        missing.iter().flat_map(|tool| tool.packages.iter().copied()).collect();
    println!("installing what the tests need:");
    for tool in &missing {
        println!("  {}: {}", tool.packages.join(" "), tool.why);
    }
    let all = packages.join(" ");
    let by_hand = || {
        Failure::Failed(format!(
            "install these by hand and try again: {all} (on Debian: apt-get install {all})"
        ))
    };
    if !is_there(&["apt-get", "--version"]) {
        return Err(by_hand());
    }
    let root = is_root();
    let apt = |arguments: &[&str]| {
        if root {
            command("apt-get", arguments, &[])
        } else {
            command("sudo", &[&["apt-get"], arguments].concat(), &[])
        }
    };
    apt(&["update", "-q"]).map_err(|_| by_hand())?;
    apt(&[["install", "-y", "-q"].as_slice(), &packages].concat()).map_err(|_| by_hand())
}

/// What the faults need of the system itself, beside tools and root, and is not there: containers
/// often have none of it.
pub(crate) fn missing_for_faults() -> Option<&'static str> {
    let namespace = format!("rollcall-probe-{}", std::process::id());
    let may_have_networks = is_there(&["ip", "netns", "add", &namespace])
        && is_there(&["ip", "netns", "delete", &namespace]);
    if !may_have_networks {
        return Some("networks of its own (ip netns add)");
    }
    if !is_there(&["losetup", "--find"]) {
        return Some("disks of its own (losetup)");
    }
    let may_have_limits = is_there(&["test", "-w", "/sys/fs/cgroup/memory/cgroup.procs"]);
    (!may_have_limits).then_some("limits of its own (/sys/fs/cgroup/memory)")
}

fn is_root() -> bool {
    let answer = Command::new("id").arg("-u").output();
    answer.is_ok_and(|answer| answer.stdout.trim_ascii() == b"0")
}

/// Whether a command succeeds.
pub(crate) fn is_there(probe: &[&str]) -> bool {
    let Some((program, arguments)) = probe.split_first() else { return false };
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
