//! Large graphs made small enough to look at.
//!
//! The rule. A graph of more than 60 steps or 300 edges is folded:
//!
//! 1. *Fans.* Steps of the same kind, agent and state whose dependencies are in the same nodes
//!    become one node. So 5,000 readers are one node, and their 5,000 checkers another.
//! 2. *Chains.* Steps that follow each other, one by one, with nothing beside them, become one
//!    node where kind, agent and state are the same.
//! 3. Where more than 120 nodes are left, those that come last become one node of mixed states.
//!    More than 300 edges are not drawn; the picture says how many are missing.
//!
//! Viewers of Mermaid refuse pictures that are much larger.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::look::Standing;
use crate::model::StepKind;

const WHOLE: usize = 60;
const NODES: usize = 120;
const EDGES: usize = 300;

/// A step to be drawn. Its number is its place.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub name: String,
    pub kind: StepKind,
    pub agent: Option<String>,
    /// None: of a flow, which has no state.
    pub standing: Option<Standing>,
}

/// What depends on what, from and to, and whether it is drawn dotted: where completion is not
/// all that it asks for, or not needed.
pub(super) type Edges = BTreeMap<(usize, usize), bool>;

/// Steps, and what depends on what.
#[derive(Clone, Debug, Default)]
pub(super) struct Graph {
    pub nodes: Vec<Node>,
    pub edges: Edges,
}

/// Steps that are drawn as one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Group {
    /// In order.
    pub members: Vec<usize>,
    /// Of different kinds and states.
    pub mixed: bool,
}

/// A graph as it is drawn. A group is named by its place.
#[derive(Clone, Debug, Default)]
pub(super) struct Folded {
    pub groups: Vec<Group>,
    pub edges: Edges,
    /// Edges that are not drawn.
    pub missing: usize,
}

impl Graph {
    pub fn fold(&self) -> Folded {
        if self.nodes.len() <= WHOLE && self.edges.len() <= EDGES {
            let alone = (0..self.nodes.len()).map(|no| Group { members: vec![no], mixed: false });
            return Folded { groups: alone.collect(), edges: self.edges.clone(), missing: 0 };
        }
        let fans = self.fans();
        let chains = self.chains(&fans, &self.between(&fans));
        let place = capped(&chains);
        let mut groups =
            vec![Group { members: Vec::new(), mixed: false }; NODES.min(total(&place))];
        for (no, place) in place.iter().enumerate() {
            let first = groups[*place].members.first().copied().unwrap_or(no);
            groups[*place].mixed |= self.look(no) != self.look(first);
            groups[*place].members.push(no);
        }
        let mut edges = self.between(&place);
        let missing = edges.len().saturating_sub(EDGES);
        if let Some(end) = edges.keys().nth(EDGES).copied() {
            edges.split_off(&end);
        }
        Folded { groups, edges, missing }
    }

    fn look(&self, no: usize) -> (StepKind, Option<&str>, Option<Standing>) {
        let node = &self.nodes[no];
        (node.kind, node.agent.as_deref(), node.standing)
    }

    /// The group of each step, when fans are folded. A group comes after those it depends on.
    fn fans(&self) -> Vec<usize> {
        let mut before = vec![Vec::new(); self.nodes.len()];
        for (from, to) in self.edges.keys() {
            before[*to].push(*from);
        }
        let (mut known, mut place) = (BTreeMap::new(), vec![usize::MAX; self.nodes.len()]);
        for no in self.in_order() {
            let needs: BTreeSet<usize> = before[no].iter().map(|from| place[*from]).collect();
            let (kind, agent, standing) = self.look(no);
            let next = known.len();
            place[no] = *known.entry((kind as u8, agent, standing, needs)).or_insert(next);
        }
        place
    }

    /// The steps, each after those it depends on.
    fn in_order(&self) -> Vec<usize> {
        let (mut waits, mut after) =
            (vec![0; self.nodes.len()], vec![Vec::new(); self.nodes.len()]);
        for (from, to) in self.edges.keys() {
            waits[*to] += 1;
            after[*from].push(*to);
        }
        let mut free: VecDeque<usize> = (0..waits.len()).filter(|no| waits[*no] == 0).collect();
        let mut order = Vec::new();
        while let Some(no) = free.pop_front() {
            order.push(no);
            for to in &after[no] {
                waits[*to] -= 1;
                if waits[*to] == 0 {
                    free.push_back(*to);
                }
            }
        }
        order
    }

    /// The group of each step, when of `groups` those that form a chain are one.
    fn chains(&self, groups: &[usize], edges: &Edges) -> Vec<usize> {
        let count = total(groups);
        let (mut size, mut first) = (vec![0; count], vec![usize::MAX; count]);
        for (no, group) in groups.iter().enumerate() {
            size[*group] += 1;
            first[*group] = first[*group].min(no);
        }
        let (mut before, mut after) = (vec![Vec::new(); count], vec![0; count]);
        for (from, to) in edges.keys() {
            before[*to].push(*from);
            after[*from] += 1;
        }
        let (mut place, mut next) = (vec![0; count], 0);
        for group in 0..count {
            let follows = before[group].first().filter(|from| {
                let alone = before[group].len() == 1 && after[**from] == 1;
                let single = size[group] == 1 && size[**from] == 1;
                alone && single && self.look(first[group]) == self.look(first[**from])
            });
            place[group] = follows.map_or(next, |from| place[*from]);
            next += usize::from(follows.is_none());
        }
        groups.iter().map(|group| place[*group]).collect()
    }

    /// The edges between groups. One that stands for several is dotted when all of them are.
    fn between(&self, place: &[usize]) -> Edges {
        let mut edges = Edges::new();
        for ((from, to), dotted) in &self.edges {
            let (from, to) = (place[*from], place[*to]);
            if from != to {
                *edges.entry((from, to)).or_insert(true) &= dotted;
            }
        }
        edges
    }
}

fn total(groups: &[usize]) -> usize {
    groups.iter().max().map_or(0, |last| last + 1)
}

/// The group of each step, when there are too many: the last ones are one.
fn capped(groups: &[usize]) -> Vec<usize> {
    groups.iter().map(|group| (*group).min(NODES - 1)).collect()
}
