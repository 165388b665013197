//! The places to look at in a message, as a tree.

use super::super::spec::Pointer;

/// One step's place, and the places below it.
#[derive(Debug, Default)]
pub(super) struct Node {
    /// What is noted of the value here.
    pub slots: Vec<usize>,
    /// The rows stand here.
    pub rows: bool,
    children: Vec<Child>,
    /// Some child can stand in an array.
    pub indexed: bool,
}

#[derive(Debug)]
struct Child {
    key: Box<[u8]>,
    index: Option<usize>,
    node: Node,
}

impl Node {
    /// The node at these steps, made where it is not there.
    pub fn at(&mut self, steps: &[String]) -> &mut Node {
        let Some((step, rest)) = steps.split_first() else { return self };
        let index = index(step);
        self.indexed |= index.is_some();
        let known = self.children.iter().position(|child| *child.key == *step.as_bytes());
        let place = known.unwrap_or_else(|| {
            self.children.push(Child { key: step.as_bytes().into(), index, node: Node::default() });
            self.children.len() - 1
        });
        self.children[place].node.at(rest)
    }

    pub fn is_leaf(&self) -> bool {
        self.children.is_empty()
    }

    #[inline]
    pub fn by_key(&self, key: &[u8]) -> Option<&Node> {
        self.children.iter().find(|child| *child.key == *key).map(|child| &child.node)
    }

    #[inline]
    pub fn by_index(&self, index: usize) -> Option<&Node> {
        self.children.iter().find(|child| child.index == Some(index)).map(|child| &child.node)
    }
}

/// Array indexes have no leading zeros (RFC 6901).
fn index(step: &str) -> Option<usize> {
    let digits = !step.is_empty() && step.bytes().all(|byte| byte.is_ascii_digit());
    (digits && (step == "0" || !step.starts_with('0'))).then(|| step.parse().ok())?
}

/// Pointers, each with a number.
#[derive(Debug, Default)]
pub(super) struct Slots(Vec<Pointer>);

impl Slots {
    /// The number of this pointer; the same for the same pointer.
    pub fn number(&mut self, pointer: &Pointer) -> usize {
        self.0.iter().position(|known| known == pointer).unwrap_or_else(|| {
            self.0.push(pointer.clone());
            self.0.len() - 1
        })
    }

    pub fn pointers(&self) -> &[Pointer] {
        &self.0
    }
}

/// The trees of a feed. A slot of a row has the number of message slots added to its own.
#[derive(Debug)]
pub(super) struct Trees {
    /// Of the message; below the place of the rows also what a row has, for rows that are one object.
    pub message: Node,
    /// Of a row in an array.
    pub row: Node,
    pub message_slots: usize,
    pub row_slots: usize,
}

impl Trees {
    pub fn new(message: &Slots, row: &Slots, rows: &Pointer) -> Self {
        let mut trees = Self {
            message: Node::default(),
            row: Node::default(),
            message_slots: message.pointers().len(),
            row_slots: row.pointers().len(),
        };
        for (slot, pointer) in message.pointers().iter().enumerate() {
            trees.message.at(pointer.steps()).slots.push(slot);
        }
        let place = trees.message.at(rows.steps());
        place.rows = true;
        for (number, pointer) in row.pointers().iter().enumerate() {
            let slot = trees.message_slots + number;
            place.at(pointer.steps()).slots.push(slot);
            trees.row.at(pointer.steps()).slots.push(slot);
        }
        trees
    }
}
