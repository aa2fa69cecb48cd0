//! A daemon that has nothing to do: it sleeps, and takes little.

use std::fs;
use std::path::Path;

use signet_ctap::{Key, Timing};

use crate::authority::PATIENCE;
use crate::broker::KeySocket;
use crate::world::{PIN, ready, session, untouched_key};

/// The system call that a thread is in, with its arguments in hex; none while it runs.
fn system_calls(pid: u32) -> Vec<Vec<String>> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let lines = tasks.map(|task| fs::read_to_string(task.unwrap().path().join("syscall")));
    let lines = lines.map(|line| line.unwrap_or_default());
    lines.map(|line| line.split_whitespace().map(str::to_owned).collect()).collect()
}

/// Whether the thread sleeps in a system call of which it knows no end by time.
fn sleeps_without_limit(call: &[String]) -> bool {
    // x86-64: epoll_wait and epoll_pwait with timeout -1, futex without one, blocking reads.
    match call.first().map(String::as_str) {
        Some("232" | "281") => call[4] == "0xffffffff" || call[4] == "0xffffffffffffffff",
        Some("202") => call[4] == "0x0",
        Some("0" | "45" | "47") => true,
        _ => false,
    }
}

/// Waits until every thread of the daemon sleeps without a limit.
async fn asleep(pid: u32) {
    let idle = async {
        loop {
            let calls = system_calls(pid);
            if !calls.is_empty() && calls.iter().all(|call| sleeps_without_limit(call)) {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    if tokio::time::timeout(PATIENCE, idle).await.is_err() {
        panic!("a thread wakes up by itself: {:?}", system_calls(pid));
    }
}

/// How often threads of the daemon began to wait, and how often they were made to.
fn switches(pid: u32) -> u64 {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let status = tasks.map(|task| fs::read_to_string(task.unwrap().path().join("status")).unwrap());
    let counts = status.map(|status| {
        let lines = status.lines().filter_map(|line| line.split_once("ctxt_switches:"));
        lines.map(|(_, count)| count.trim().parse::<u64>().unwrap()).sum::<u64>()
    });
    counts.sum()
}

/// A figure of /proc/PID/smaps_rollup, in KiB.
fn kibibytes(pid: u32, figure: &str) -> u64 {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let line = rollup.lines().find_map(|line| line.strip_prefix(figure)?.strip_prefix(':'));
    line.unwrap().trim().strip_suffix(" kB").unwrap().parse().unwrap()
}

#[cfg(target_arch = "x86_64")]
#[tokio::test]
async fn nothing_ticks_while_nothing_happens() {
    let (world, caller, credential) = ready(untouched_key().await, "").await;
    // After work with timers: a request served, one taken back, keys listed.
    world.keys[0].touch_auto().unwrap();
    let mut pending = caller.presence("one", &session(&credential)).await.unwrap();
    pending.served(&[PIN]).await.ok();
    caller.daemon.list_authenticators().await.unwrap();
    asleep(world.signetd.pid().unwrap()).await;
}

#[cfg(target_arch = "x86_64")]
#[tokio::test]
async fn a_key_that_another_program_uses_does_not_wake_us() {
    let socket = KeySocket::new();
    // The caller stays: the bus would tell of its leaving.
    let (world, caller) = socket.world_with(untouched_key().await).await;
    let pid = world.signetd.pid().unwrap();
    asleep(pid).await;
    let before = switches(pid);
    let mut key = Key::open_path(&world.keys[0].socket(), Timing::default()).await.unwrap();
    for _ in 0..100 {
        key.refresh().await.unwrap();
    }
    assert_eq!(switches(pid), before, "woken by reports that are for others");
    // They lie before ours now, more than the kernel keeps.
    assert_eq!(caller.daemon.list_authenticators().await.unwrap().len(), 1);
}

/// Without optimisation the program is larger, but what it writes into is not.
#[tokio::test]
async fn idle_it_writes_into_little_memory_and_none_of_it_can_be_dumped_or_swapped() {
    let (world, caller, credential) = ready(untouched_key().await, "").await;
    world.keys[0].touch_auto().unwrap();
    let mut pending = caller.presence("one", &session(&credential)).await.unwrap();
    pending.served(&[PIN]).await.ok();
    let pid = world.signetd.pid().unwrap();
    // Not Private_Dirty: pages of a program that was built a moment ago count as dirty too.
    let (dirty, locked) = (kibibytes(pid, "Pss_Anon"), kibibytes(pid, "Locked"));
    assert!(dirty <= 10 * 1024, "{dirty} KiB");
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let limit = |name: &str| {
        let line = limits.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.split_whitespace().next().unwrap().to_owned()
    };
    assert_eq!(limit("Max core file size"), "0");
    // Root owns what the kernel shows of a process that cannot be dumped.
    if !rustix::process::geteuid().is_root() {
        assert_ne!(fs::read(Path::new("/proc").join(pid.to_string()).join("environ")).ok(), None);
    }
    match limit("Max locked memory").as_str() {
        "unlimited" => assert!(locked >= dirty, "{locked} of {dirty} KiB are locked"),
        _ => assert!(world.signetd.log().contains("LimitMEMLOCK"), "{}", world.signetd.log()),
    }
}
