//! What steps returned in this process of late: the steps behind them need not read it.

use std::collections::{HashMap, VecDeque};

use crate::{id::TaskId, model::Payload};

/// The most that is kept, in bytes.
const BYTES: usize = 1 << 20;
/// What one entry takes besides its text, roughly.
const ENTRY: usize = 100;

/// The newest outputs of completed tasks, which never change.
#[derive(Debug, Default)]
pub(super) struct Outputs {
    by_task: HashMap<TaskId, Payload>,
    /// Oldest first.
    order: VecDeque<TaskId>,
    bytes: usize,
}

impl Outputs {
    pub fn get(&self, task: TaskId) -> Option<Payload> {
        self.by_task.get(&task).cloned()
    }

    pub fn keep(&mut self, task: TaskId, output: Payload) {
        let bytes = size(&output);
        if bytes > BYTES || self.by_task.contains_key(&task) {
            return;
        }
        self.by_task.insert(task, output);
        self.order.push_back(task);
        self.bytes += bytes;
        while self.bytes > BYTES
            && let Some(oldest) = self.order.pop_front()
        {
            self.bytes -= self.by_task.remove(&oldest).as_ref().map_or(0, size);
        }
    }
}

fn size(output: &Payload) -> usize {
    output.as_str().len() + ENTRY
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_go_when_there_is_no_room() {
        let text = Payload::text(&"x".repeat(BYTES / 4));
        let tasks = [(); 5].map(|()| TaskId::new());
        let mut outputs = Outputs::default();
        tasks.iter().for_each(|task| outputs.keep(*task, text.clone()));
        let kept = tasks.map(|task| outputs.get(task).is_some());
        assert_eq!(kept, [false, false, true, true, true]);
        assert_eq!((outputs.order.len(), outputs.by_task.len()), (3, 3));
        outputs.keep(TaskId::new(), Payload::text(&"x".repeat(BYTES)));
        assert_eq!(outputs.by_task.len(), 3, "what is too large takes no room from others");
    }
}
