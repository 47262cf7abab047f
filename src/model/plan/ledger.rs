//! Booking what agents have used.

use super::{are_names, fits, work::Work};
use crate::model::{
    AgentSession, Book, Booking, Counters, Metering, Outcome, Receipt, Rejection, Tokens, Turn,
    UsageReport, limits,
};

/// The largest number of one report: what JSON readers keep exactly. Sums of many stay numbers that
/// databases have.
const LARGEST: u64 = (1 << 53) - 1;

/// Books reports, each once. Their session may have ended, and their chat may be gone.
pub(super) fn book(work: &mut Work, book: Book) -> Receipt {
    let Some(mut session) = work.rows.agent_sessions.get(&book.session).cloned() else {
        return Err(Rejection::not_found("agent's session", book.session));
    };
    let mut turn = work.rows.turns.get(&book.turn).cloned();
    if turn.as_ref().is_some_and(|turn| turn.task != book.task) {
        let message = format!("turn {} is not of task {}", book.turn, book.task);
        return Err(Rejection::Invalid(message));
    }
    book.reports.iter().try_for_each(check)?;
    let run = work.rows.routes.get(&book.task).and_then(|route| route.step).map(|(run, _)| run);
    let mut booked = false;
    for report in book.reports {
        let mut known = work.rows.ledger.values();
        if known.any(|row| row.session == session.id && row.source == report.source) {
            continue;
        }
        let (tokens, cost) = amounts(&mut session.counters, &report);
        session.bookings += 1;
        session.tokens += tokens;
        session.cost = session.cost.saturating_add(cost.unwrap_or(0));
        if let Some(turn) = &mut turn {
            turn.tokens += tokens;
            turn.cost = turn.cost.saturating_add(cost.unwrap_or(0));
        }
        work.insert_booking(Booking {
            session: session.id,
            no: session.bookings,
            source: report.source,
            chat: session.chat,
            agent: session.agent.clone(),
            generation: session.generation,
            task: book.task,
            run,
            turn: book.turn,
            model: report.model,
            metering: report.metering,
            tokens,
            cost,
            raw: report.raw,
            at: work.now,
        });
        booked = true;
    }
    if booked {
        save(work, session, turn);
    }
    Ok(Outcome::Done)
}

fn save(work: &mut Work, session: AgentSession, turn: Option<Turn>) {
    work.put_agent_session(session);
    if let Some(turn) = turn {
        work.put_turn(turn);
    }
}

fn check(report: &UsageReport) -> Result<(), Rejection> {
    are_names([&report.source])?;
    are_names(&report.model)?;
    fits("a report", report.raw.as_str().len(), limits::PAYLOAD_BYTES)
}

/// What is booked of a report: a difference as it is, of a counter what it has grown by. A counter
/// that is less than before has begun anew.
fn amounts(counters: &mut Counters, report: &UsageReport) -> (Tokens, Option<i64>) {
    let model = report.model.clone().unwrap_or_default();
    let mut counter = counters.get(&model).copied().unwrap_or_default();
    let now = bounded(report.tokens);
    let tokens = match report.metering {
        Metering::Delta => now,
        Metering::Cumulative => {
            let before = std::mem::replace(&mut counter.tokens, now);
            now.since(before).unwrap_or(now)
        }
    };
    let cost = report.cost.map(|(metering, now)| {
        let now = now.clamp(0, LARGEST as i64);
        match metering {
            Metering::Delta => now,
            Metering::Cumulative => {
                let before = std::mem::replace(&mut counter.cost, now);
                if now < before { now } else { now - before }
            }
        }
    });
    let counted = |metering: Metering| metering == Metering::Cumulative;
    if counted(report.metering) || report.cost.is_some_and(|(metering, _)| counted(metering)) {
        counters.insert(model, counter);
    }
    (tokens, cost)
}

fn bounded(tokens: Tokens) -> Tokens {
    Tokens {
        input: tokens.input.min(LARGEST),
        cache_read: tokens.cache_read.min(LARGEST),
        cache_write: tokens.cache_write.min(LARGEST),
        output: tokens.output.min(LARGEST),
        reasoning: tokens.reasoning.min(LARGEST),
    }
}
