//! Worktrees that a killed process has left.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::Duration,
};

use segue::{
    Builder, ChatSpec, Engine,
    agents::{
        acp::Acp,
        process::{Landlock, Rules},
    },
    id::ChatId,
};

use super::{
    child::Child,
    place::{Place, agent, deserted, engine, eventually, processes, run},
};

/// One whose worktrees are not kept at all.
pub fn builder(folder: &Path) -> Builder {
    engine(folder).keep_worktrees(Duration::ZERO)
}

/// An agent that only reads, and has its sessions elsewhere.
pub fn reader(folder: &Path) -> Acp {
    let sessions = folder.join("sessions");
    fs::create_dir_all(&sessions).unwrap();
    let rules = Rules { writable: vec![sessions.clone()] };
    let agent = agent().sandbox(Arc::new(Landlock), rules);
    agent.env(move |_| Ok([("ACP_AGENT_HOME".into(), sessions.clone().into())].into()))
}

fn git(folder: &Path, arguments: &[&str]) -> String {
    let mut git = Command::new("git");
    git.arg("-C").arg(folder).args(["-c", "user.name=t", "-c", "user.email=t@t"]).args(arguments);
    git.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_SYSTEM", "/dev/null");
    let output = git.output().expect("git is installed");
    assert!(output.status.success(), "git {arguments:?}: {output:?}");
    String::from_utf8(output.stdout).expect("text")
}

/// A repository with one commit.
fn repository(place: &Place) -> PathBuf {
    let repository = place.folder("repository");
    git(&repository, &["init", "--quiet", "--initial-branch", "main"]);
    fs::write(repository.join("README.md"), "one\n").unwrap();
    git(&repository, &["add", "."]);
    git(&repository, &["commit", "--quiet", "-m", "first"]);
    repository
}

fn worktrees(place: &Place) -> Vec<PathBuf> {
    let entries = fs::read_dir(place.path().join("worktrees")).into_iter().flatten();
    entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect()
}

/// A turn that reads until it is stopped.
async fn reads(beside: &Engine, repository: &Path) {
    let chat = beside.chat(ChatId::new(), ChatSpec::default()).await.unwrap();
    let send = chat.send("reader", "say I read\nwait").read_only();
    send.folder(repository.to_str().unwrap()).await.unwrap();
    eventually("it reads", async || chat.history(0, 9).await.unwrap().len() == 2).await;
}

#[test]
fn a_worktree_that_a_killed_engine_has_left_is_taken_away_and_one_that_is_read_is_not() {
    run(async {
        let place = Place::new();
        let repository = repository(&place);
        let beside = place.beside().await;
        let mut first = Child::start(place.path(), "read");
        reads(&beside, &repository).await;
        let [worktree] = &worktrees(&place)[..] else { panic!("{:?}", worktrees(&place)) };
        assert!(!processes(worktree).is_empty());

        // A living sibling reads it: whoever starts beside it leaves it alone.
        let mut sibling = Child::spawn(place.path(), "clean");
        assert!(sibling.hear("ready").contains("worktrees: 0"));
        assert!(worktree.join("README.md").exists());
        sibling.finish();

        first.kill();
        deserted(worktree).await;
        assert!(worktree.join("README.md").exists(), "who is killed takes nothing away");
        // It takes no turns, so that it needs no worktree either.
        let mut next = Child::spawn(place.path(), "clean");
        let said = next.hear("ready");
        assert!(said.contains("worktrees: 1"), "{said}");
        assert!(worktrees(&place).is_empty());
        assert_eq!(git(&repository, &["worktree", "list"]).lines().count(), 1, "git has forgotten");
        next.finish();
    });
}
