//! What is to be performed, in order; but what is urgent stands before all else that waits here.

use super::BATCH;
use synod_ledger::Effect;
use tokio::sync::mpsc;

/// An effect of the step at an offset.
type One = (u64, Effect);

/// Where effects are added.
pub(super) struct Work {
    urgent: mpsc::UnboundedSender<One>,
    then: mpsc::UnboundedSender<One>,
}

/// Where they are taken.
pub(super) struct Todo {
    urgent: mpsc::UnboundedReceiver<One>,
    then: mpsc::UnboundedReceiver<One>,
}

/// Both ends.
pub(super) fn channel() -> (Work, Todo) {
    let ((urgent, first), (then, rest)) = (mpsc::unbounded_channel(), mpsc::unbounded_channel());
    (Work { urgent, then }, Todo { urgent: first, then: rest })
}

impl Work {
    /// One more.
    pub(super) fn add(&self, offset: u64, effect: Effect) {
        let way =
            if matches!(effect, Effect::Deliver { urgent: true, .. }) { &self.urgent } else { &self.then };
        // It ends only with us.
        let _ = way.send((offset, effect));
    }

    /// For what comes back.
    pub(super) fn again(&self) -> mpsc::UnboundedSender<One> {
        self.then.clone()
    }
}

impl Todo {
    /// Waits for something; `false` when nothing can come any more.
    pub(super) async fn wait(&mut self, batch: &mut Vec<One>) -> bool {
        tokio::select! {
            biased;
            Some(next) = self.urgent.recv() => batch.push(next),
            Some(next) = self.then.recv() => batch.push(next),
            else => return false,
        }
        true
    }

    /// Takes what is there, up to a batch.
    pub(super) fn fill(&mut self, batch: &mut Vec<One>) {
        while batch.len() < BATCH
            && let Ok(next) = self.urgent.try_recv().or_else(|_| self.then.try_recv())
        {
            batch.push(next);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use synod_fleet::AgentKey;
    use synod_protocol::command::Delivery;
    use synod_protocol::{Envelope, Json};

    fn delivery(urgent: bool) -> Effect {
        Effect::Deliver {
            agent: AgentKey { workspace: "w".parse().unwrap(), agent: "a".parse().unwrap() },
            delivery: Delivery::Redis,
            attempt_id: None,
            urgent,
            root: "a".into(),
            envelope: Box::new(Envelope::new("1", "/synod", "synod.task.assigned")),
            value: Json::null(),
        }
    }

    #[tokio::test]
    async fn what_is_urgent_is_performed_before_a_thousand_that_wait() {
        let (work, mut todo) = channel();
        (0..1_000).for_each(|offset| work.add(offset, delivery(false)));
        [1_000, 1_001].into_iter().for_each(|offset| work.add(offset, delivery(true)));
        let mut batch = Vec::new();
        assert!(todo.wait(&mut batch).await);
        todo.fill(&mut batch);
        let offsets: Vec<u64> = batch.iter().take(4).map(|(offset, _)| *offset).collect();
        assert_eq!((offsets, batch.len()), (vec![1_000, 1_001, 0, 1], BATCH));
    }
}
