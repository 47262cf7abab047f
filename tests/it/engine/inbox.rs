//! Asking people.

use segue::{
    Context, Failure, NewTask, Waiting,
    model::{ItemKind, Payload, Rejection, TaskState},
};
use serde_json::{Value, json};

use super::support::{Store, eventually};

each_backend!(
    a_question_is_answered_from_a_second_connection,
    an_answer_must_be_one_of_the_options,
    the_first_answer_counts_and_the_same_again_is_taken,
    two_questions_in_turn_find_their_own_answers,
    a_custom_item_carries_the_hosts_json,
    the_inbox_is_read_by_project_oldest_first,
);

async fn deploy(context: Context, _: Value) -> Result<String, Failure> {
    let answer = context.ask("deploy", "Deploy now?", &["yes", "no"]).await?;
    Ok(format!("{} says {}", answer.by, answer.value.decode::<String>()?))
}

async fn a_question_is_answered_from_a_second_connection(store: Store) {
    let builder = store.builder().concurrency(1).task("deploy", deploy);
    let engine = builder.start().await.unwrap();
    let task = engine.enqueue("deploy", &()).await.unwrap();
    let other = store.builder().connect().await.unwrap();
    eventually("it is asked", || async { !other.inbox(None, 10).await.unwrap().is_empty() }).await;
    let item = other.inbox(None, 10).await.unwrap().remove(0);
    assert_eq!((item.task, item.kind), (task.id(), ItemKind::Question));
    assert_eq!(item.body, Payload::text("Deploy now?"));
    assert_eq!(task.why().await.unwrap(), Waiting::Answer(vec![item.id]));
    assert_eq!(engine.stuck().await.unwrap().len(), 1);
    engine.run_until_idle().await.unwrap();
    other.answer(item.id, "yes", "Ada").await.unwrap();
    assert_eq!(task.output::<String>().await.unwrap(), "Ada says yes");
    assert_eq!(other.inbox(None, 10).await.unwrap(), []);
    assert_eq!(engine.stuck().await.unwrap(), []);
}

async fn an_answer_must_be_one_of_the_options(store: Store) {
    let engine = store.builder().task("deploy", deploy).start().await.unwrap();
    let task = engine.enqueue("deploy", &()).await.unwrap();
    engine.run_until_idle().await.unwrap();
    let item = engine.inbox(None, 10).await.unwrap().remove(0);
    for wrong in [json!("maybe"), json!(true), json!(null)] {
        let error = engine.answer(item.id, &wrong, "Ada").await.unwrap_err();
        let options = vec!["yes".to_owned(), "no".to_owned()];
        assert_eq!(error.rejection(), Some(&Rejection::NotAnOption(options)));
    }
    assert_eq!(task.view().await.unwrap().state(), TaskState::Blocked);
    let nobody = engine.answer(segue::id::ItemId::new(), "yes", "Ada").await;
    assert!(nobody.unwrap_err().is_not_found());
}

async fn the_first_answer_counts_and_the_same_again_is_taken(store: Store) {
    let engine = store.builder().task("deploy", deploy).start().await.unwrap();
    let other = store.builder().connect().await.unwrap();
    let task = engine.enqueue("deploy", &()).await.unwrap();
    engine.run_until_idle().await.unwrap();
    let item = engine.inbox(None, 10).await.unwrap().remove(0).id;
    let answers = tokio::join!(engine.answer(item, "yes", "Ada"), other.answer(item, "no", "Bob"));
    let (first, refused) = match answers {
        (Ok(()), Err(refused)) => ("Ada says yes", refused),
        (Err(refused), Ok(())) => ("Bob says no", refused),
        other => panic!("one answer counts: {other:?}"),
    };
    assert!(matches!(refused.rejection(), Some(Rejection::Answered { .. })), "{refused}");
    assert_eq!(task.output::<String>().await.unwrap(), first);
    let mut words = first.split(' ');
    let (by, value) = (words.next().unwrap(), words.nth(1).unwrap());
    engine.answer(item, value, by).await.unwrap();
}

async fn two_questions_in_turn_find_their_own_answers(store: Store) {
    async fn twice(context: Context, _: Value) -> Result<Vec<u32>, Failure> {
        let first = context.ask("a", "first?", &[]).await?.value.decode()?;
        let second = context.ask("b", "second?", &[]).await?.value.decode()?;
        Ok(vec![first, second])
    }
    let engine = store.builder().task("twice", twice).start().await.unwrap();
    let task = engine.enqueue("twice", &()).await.unwrap();
    for (key, value) in [("a", 1), ("b", 2)] {
        engine.run_until_idle().await.unwrap();
        let item = engine.inbox(None, 10).await.unwrap().remove(0);
        assert_eq!(item.key, key);
        engine.answer(item.id, &value, "Ada").await.unwrap();
    }
    assert_eq!(task.output::<Vec<u32>>().await.unwrap(), [1, 2]);
    let failures = task.view().await.unwrap().task.unwrap().failures;
    assert_eq!(failures, 0, "asking is not failing");
}

async fn a_custom_item_carries_the_hosts_json(store: Store) {
    async fn review(context: Context, _: Value) -> Result<Value, Failure> {
        let body = Payload::of(&json!({"path": "a.rs", "line": 3}))?;
        match context.answer("review").await? {
            Some(answer) => Ok(answer.value.decode()?),
            None => Err(Failure::ask(ItemKind::Review, "review", body, &[])),
        }
    }
    let engine = store.builder().task("review", review).start().await.unwrap();
    let task = engine.enqueue("review", &()).await.unwrap();
    engine.run_until_idle().await.unwrap();
    let item = engine.inbox(None, 10).await.unwrap().remove(0);
    assert_eq!(item.kind, ItemKind::Review);
    assert_eq!(item.body.decode::<Value>().unwrap()["line"], 3);
    engine.answer(item.id, &json!({"ok": true}), "Ada").await.unwrap();
    assert_eq!(task.output::<Value>().await.unwrap(), json!({"ok": true}));
}

async fn the_inbox_is_read_by_project_oldest_first(store: Store) {
    let engine = store.builder().task("deploy", deploy).start().await.unwrap();
    let mut asked = Vec::new();
    for project in ["a", "b", "a"] {
        let new = NewTask::new("deploy", &()).project(project);
        asked.push(engine.submit(new).await.unwrap().id());
        engine.run_until_idle().await.unwrap();
    }
    let of = async |project| {
        let items = engine.inbox(project, 10).await.unwrap();
        items.iter().map(|item| item.task).collect::<Vec<_>>()
    };
    assert_eq!(of(None).await, asked);
    assert_eq!(of(Some("a")).await, [asked[0], asked[2]]);
    assert_eq!(engine.inbox(None, 1).await.unwrap().len(), 1);
}
