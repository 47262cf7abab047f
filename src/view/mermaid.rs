//! Steps and edges as a Mermaid flowchart, with the states as classes and a legend.

use std::{collections::BTreeMap, fmt::Write};

use super::{
    fold::{Folded, Graph, Group, Node},
    look::{self, Standing},
    record::{RunRecord, StepRecord},
    text,
};
use crate::model::NewStep;

/// The longest part of a name that is shown, in columns.
const NAME: usize = 48;

impl RunRecord {
    /// Its steps and edges as a Mermaid flowchart. A node's class is the state of its step,
    /// where `running` is parted into `queued`, `running` (or a run under it does) and
    /// `blocked` (a person is asked); a legend says how many steps there are of each. An edge
    /// is dotted where it takes other ends than completion, or has a condition.
    ///
    /// A run of more than 60 steps or 300 edges is folded. Steps of the same kind, agent and
    /// state whose dependencies are in the same nodes become one node with their number, and
    /// so does a chain of such steps that follow each other with nothing beside them. Of what
    /// is then left beyond 120 nodes the last ones become one node, and of more than 300
    /// edges the legend says how many are missing.
    pub fn mermaid(&self) -> String {
        let places = self.steps.iter().zip(0..).map(|(step, at)| (step.no, at));
        let places: BTreeMap<u32, usize> = places.collect();
        let ends = |no: u32| places.get(&no).copied();
        let edges = self
            .edges
            .iter()
            .filter_map(|edge| Some(((ends(edge.from)?, ends(edge.to)?), !edge.terms.are_plain())));
        let graph = Graph { nodes: self.steps.iter().map(node).collect(), edges: edges.collect() };
        let folded = graph.fold();
        let mut drawn = draw(&graph, &folded);
        let state = format!("{:?}", self.run.state).to_lowercase();
        let paused = if self.run.paused { ", paused" } else { "" };
        let title = format!("{}: {state}{paused}", text::short(&self.run.flow, NAME));
        legend(&mut drawn, &title, &graph, &folded);
        drawn
    }
}

/// The steps and edges of a flow.
pub(crate) fn plan(steps: &[NewStep]) -> String {
    let node = |step: &NewStep| Node {
        name: step.name.clone(),
        kind: step.kind,
        agent: step.agent.clone(),
        standing: None,
    };
    let edges = steps.iter().enumerate().flat_map(|(to, step)| {
        let dotted = |from| step.terms.get(from).is_some_and(|terms| !terms.are_plain());
        step.after.iter().map(move |from| ((*from as usize, to), dotted(from)))
    });
    let known = |((from, _), _): &((usize, usize), bool)| *from < steps.len();
    let graph =
        Graph { nodes: steps.iter().map(node).collect(), edges: edges.filter(known).collect() };
    draw(&graph, &graph.fold())
}

fn node(step: &StepRecord) -> Node {
    Node {
        name: step.name.clone(),
        kind: step.kind,
        agent: step.agent.clone(),
        standing: Some(Standing::of(step)),
    }
}

fn draw(graph: &Graph, folded: &Folded) -> String {
    let mut drawn = "flowchart TD\n".to_owned();
    for group in &folded.groups {
        let first = &graph.nodes[group.members[0]];
        let [open, close] = look::kind(first.kind).shape;
        let class = first.standing.filter(|_| !group.mixed).map(Standing::name);
        let class = class.map(|class| format!(":::{class}")).unwrap_or_default();
        let (id, label) = (group.members[0], label(graph, group));
        let _ = writeln!(drawn, "    s{id}{open}\"{label}\"{close}{class}");
    }
    for ((from, to), dotted) in &folded.edges {
        let [from, to] = [from, to].map(|group| folded.groups[*group].members[0]);
        let arrow = if *dotted { "-.->" } else { "-->" };
        let _ = writeln!(drawn, "    s{from} {arrow} s{to}");
    }
    drawn
}

fn label(graph: &Graph, group: &Group) -> String {
    let name = |no: usize| text::mermaid(&text::short(&text::clean(&graph.nodes[no].name), NAME));
    let first = group.members[0];
    let agent = graph.nodes[first].agent.as_deref().filter(|_| !group.mixed);
    let agent = agent.map(|agent| format!(" ({})", text::mermaid(&text::short(agent, NAME))));
    let agent = agent.unwrap_or_default();
    match group.members[..] {
        [only] => format!("{}{agent}", name(only)),
        [.., last] => {
            let states = if group.mixed { ", mixed" } else { "" };
            let count = text::counted(group.members.len(), "step");
            format!("{} \u{2026} {}{agent}<br/>{count}{states}", name(first), name(last))
        }
        [] => String::new(),
    }
}

fn legend(drawn: &mut String, title: &str, graph: &Graph, folded: &Folded) {
    let of =
        |wanted: Standing| graph.nodes.iter().filter(|node| node.standing == Some(wanted)).count();
    let counts = Standing::ALL.map(|standing| (standing, of(standing)));
    let shown: Vec<_> = counts.into_iter().filter(|(_, count)| *count > 0).collect();
    if shown.is_empty() {
        return;
    }
    let _ = writeln!(drawn, "    subgraph legend[\"{}\"]", text::mermaid(title));
    let _ = writeln!(drawn, "        direction LR");
    for (at, (standing, count)) in shown.iter().enumerate() {
        let (name, count) = (standing.name(), text::count(*count));
        let _ = writeln!(drawn, "        l{at}[\"{name} {count}\"]:::{name}");
    }
    if folded.missing > 0 {
        let missing = text::counted(folded.missing, "edge");
        let _ = writeln!(drawn, "        missing[\"{missing} not drawn\"]");
    }
    let _ = writeln!(drawn, "    end");
    for (standing, _) in &shown {
        let _ = writeln!(drawn, "    classDef {} {}", standing.name(), standing.style());
    }
}
