//! Programs that print onto a terminal only.

use segue::{
    agents::{
        Agent, Block, Outcome,
        cli::{Flags, Prompt, Recipe},
    },
    testing::Recorder,
};

use super::{
    adapter::{cli, recipe, says, text, turn},
    lives, mark,
};

/// Says which of its streams are a terminal, and prints as one who has colours.
const STREAMS: &[&str] = &[
    "-c",
    r#"
    for stream in 0 1 2; do [ -t $stream ] && is="$is $stream"; done
    printf '\033[?25l\033[2J' > /dev/tty
    printf '\033[1m{"type":"result","subtype":"success","result":"%s, %s columns"}\033[0m\n' \
        "$is" "$(stty size < /dev/tty | cut -d' ' -f2)"
    "#,
];

fn on_a_terminal(first: &'static [&'static str], prompt: Prompt) -> Recipe {
    Recipe { terminal: true, prompt, flags: Flags::NONE, ..recipe(first) }
}

#[tokio::test]
async fn a_program_has_a_terminal_where_it_wants_one() {
    let all = cli(on_a_terminal(STREAMS, Prompt::Argument));
    assert_eq!(says(&all, |_| {}).await, " 0 1, 65535 columns");
    let output = cli(on_a_terminal(STREAMS, Prompt::Input));
    assert_eq!(says(&output, |_| {}).await, " 1, 65535 columns");
}

#[tokio::test]
async fn a_long_prompt_and_a_long_answer_are_whole() {
    // A terminal would cut a line of input at 4 KiB, and give back what it is given.
    const ECHO: &[&str] = &[
        "-c",
        r#"printf '{"type":"result","subtype":"success","result":"%s"}\n' "$(cat | wc -c)$(head -c 300000 /dev/zero | tr '\0' x)""#,
    ];
    let mut long = turn(mark());
    long.content = vec![Block::text("w".repeat(1 << 20))];
    let outcome = cli(on_a_terminal(ECHO, Prompt::Input)).turn(long, &Recorder::default()).await;
    let said = text(outcome);
    assert_eq!(said.trim_end_matches('x'), (1 << 20).to_string());
    assert_eq!(said.len(), 300_007);
}

#[tokio::test]
async fn what_holds_its_terminal_is_ended_with_the_turn() {
    const HOLDS: &[&str] = &[
        "-c",
        r#"
        setsid sleep 600 &
        printf '{"type":"system","subtype":"init","session_id":"%s"}\n' "$!"
        wait
        "#,
    ];
    let turn = turn(mark());
    let (stop, recorder) = (turn.stop.clone(), Recorder::default());
    let agent = cli(on_a_terminal(HOLDS, Prompt::Argument));
    let taken = agent.turn(turn, &recorder);
    let told = async {
        while recorder.sessions().is_empty() {
            tokio::task::yield_now().await;
        }
        stop.cancel();
    };
    let (outcome, ()) = tokio::join!(taken, told);
    assert!(matches!(outcome, Outcome::Cancelled), "{outcome:?}");
    let sleeps: u32 = recorder.sessions()[0].parse().unwrap();
    assert!(!lives(sleeps));
}
