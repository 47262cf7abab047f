//! What a program has started ends with it, and nothing else does.

use std::{os::unix::process::ExitStatusExt, path::Path, time::Duration};

use segue::agents::process::{Mark, Watcher, sweep_owner};
use uuid::Uuid;

use super::{
    child::{Child, say, told},
    eventually, heard, lives, mark, shell,
};

/// Starts a process in a session of its own, one without an environment, and one that is stopped,
/// and says who they are.
const TREE: &str = r#"
setsid sleep 1000 & echo $!
env -i sleep 1000 & echo $!
sh -c 'kill -STOP $$; sleep 1000' & stopped=$!; echo $stopped
echo "$( (setsid sh -c 'echo $$; exec sleep 1000 > /dev/null' &) )"
while [ "$(grep -c '^State:.T' /proc/$stopped/status)" = 0 ] && kill -0 $stopped; do :; done
echo ready
wait
"#;

#[tokio::test]
async fn ending_a_program_ends_all_that_it_started() {
    let mut owned = shell(Path::new("/"), TREE).start(mark()).await.unwrap();
    let (mark, own) = (owned.mark(), owned.id().unwrap());
    let pids = heard(&mut owned, "ready").await;
    let pids: Vec<u32> = pids.iter().map(|pid| pid.parse().unwrap()).collect();
    assert_eq!(pids.len(), 4);
    assert!(pids.iter().all(|pid| lives(*pid)), "{pids:?}");
    let marked = mark.processes();
    assert!(pids.iter().chain([&own]).all(|pid| marked.contains(pid)), "{pids:?} of {marked:?}");
    let ended = owned.end(Duration::from_millis(50)).await.unwrap();
    assert!(!ended.status.success());
    assert!(ended.swept >= 1, "who left the group is found by the mark");
    assert!(mark.processes().is_empty());
    assert_eq!(pids.into_iter().filter(|pid| lives(*pid)).count(), 0);
}

#[tokio::test]
async fn a_program_that_ends_leaves_nothing_behind() {
    let script = "setsid sleep 1000 > /dev/null 2>&1 & exit 3";
    let owned = shell(Path::new("/"), script).start(mark()).await.unwrap();
    let mark = owned.mark();
    let ended = owned.ended().await.unwrap();
    assert_eq!((ended.status.code(), ended.swept), (Some(3), 1));
    assert!(mark.processes().is_empty());
}

#[tokio::test]
async fn a_program_that_does_not_listen_is_killed() {
    let script = "trap '' TERM; echo ready; while :; do sleep 1000; done";
    let mut owned = shell(Path::new("/"), script).start(mark()).await.unwrap();
    heard(&mut owned, "ready").await;
    let ended = owned.end(Duration::from_millis(20)).await.unwrap();
    assert_eq!(ended.status.signal(), Some(9));
}

#[tokio::test]
async fn a_program_that_listens_ends_in_order() {
    let script = "trap 'kill $!; exit 5' TERM; sleep 1000 & echo ready; wait";
    let mut owned = shell(Path::new("/"), script).start(mark()).await.unwrap();
    heard(&mut owned, "ready").await;
    assert_eq!(owned.end(Duration::from_secs(30)).await.unwrap().status.code(), Some(5));
}

#[tokio::test]
async fn a_sweep_touches_no_other_mark() {
    let ours = Uuid::now_v7();
    let script = "echo ready; sleep 1000";
    let mut one = shell(Path::new("/"), script).start(Mark::new(ours)).await.unwrap();
    let mut two = shell(Path::new("/"), script).start(Mark::new(ours)).await.unwrap();
    let mut other = shell(Path::new("/"), script).start(mark()).await.unwrap();
    for owned in [&mut one, &mut two, &mut other] {
        heard(owned, "ready").await;
    }
    assert!(one.mark().sweep().await.unwrap() >= 1);
    assert!(!two.mark().processes().is_empty() && !other.mark().processes().is_empty());
    assert!(sweep_owner(ours).await.unwrap() >= 1, "the second is of the same owner");
    assert!(two.mark().processes().is_empty() && !other.mark().processes().is_empty());
    assert_eq!(sweep_owner(ours).await.unwrap(), 0);
    other.end(Duration::ZERO).await.unwrap();
}

#[tokio::test]
async fn a_program_gets_the_environment_that_is_said_and_no_other() {
    let mut spawn = shell(Path::new("/"), "env; echo ready");
    spawn.env.insert("ONE".into(), "1".into());
    let mut owned = spawn.start(mark()).await.unwrap();
    let mut names: Vec<_> = heard(&mut owned, "ready").await;
    names.iter_mut().for_each(|line| line.truncate(line.find('=').unwrap_or(line.len())));
    // The shell itself sets some.
    names.retain(|name| !["PWD", "OLDPWD", "SHLVL", "_"].contains(&name.as_str()));
    names.sort();
    assert_eq!(names, ["ONE", "PATH", "SEGUE_MARK"]);
}

#[tokio::test]
async fn a_program_that_is_not_there_is_an_error() {
    let mut spawn = shell(Path::new("/"), "");
    spawn.program = "/no/such/program".into();
    let error = spawn.start(mark()).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
}

/// A host: starts a watcher and a program, and says the owner's id.
pub async fn host(folder: &Path) {
    let owner = Uuid::now_v7();
    let watcher = Watcher::start(owner).expect("a shell");
    let mut owned = shell(folder, TREE).start(Mark::new(owner)).await.expect("a program");
    let pids = heard(&mut owned, "ready").await;
    say(&format!("pids {} {}", pids.join(" "), watcher.id()));
    told().await;
    drop(watcher);
    say("so be it");
    told().await;
}

fn pids(child: &mut Child) -> Vec<u32> {
    let line = child.hear("pids ");
    line.split_whitespace().filter_map(|word| word.parse().ok()).collect()
}

#[test]
fn a_host_that_is_killed_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = Child::spawn(folder.path(), "host");
    let pids = pids(&mut child);
    assert_eq!(pids.len(), 5);
    assert!(pids.iter().all(|pid| lives(*pid)));
    child.kill();
    eventually("its programs and the watcher end", || !pids.iter().any(|pid| lives(*pid)));
}

#[test]
fn a_watcher_that_is_dismissed_ends_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = Child::spawn(folder.path(), "host");
    let mut pids = pids(&mut child);
    child.tell("dismiss it");
    let watcher = pids.pop().unwrap();
    assert!(!lives(watcher));
    assert!(pids.iter().all(|pid| lives(*pid)));
    child.kill();
    // Nobody watches any more: they are found by the mark of one of them.
    let environment = std::fs::read_to_string(format!("/proc/{}/environ", pids[0])).unwrap();
    let mark = environment.split('\0').find_map(|line| line.strip_prefix("SEGUE_MARK="));
    let mark: Mark = mark.unwrap().parse().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(mark.sweep()).unwrap();
    for pid in pids.into_iter().filter(|pid| lives(*pid)) {
        // The one that dropped its environment, and lost its parent.
        let pid = rustix::process::Pid::from_raw(pid as i32).unwrap();
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
}
