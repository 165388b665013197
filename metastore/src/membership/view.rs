//! Who is in the cluster, as far as is known: events in, changes out.

use std::collections::BTreeMap;
use std::sync::Arc;

use polarway_common::HostPort;

use super::member::{Member, Role};

/// What was seen of one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Observed {
    Present(Arc<Member>),
    Gone { name: String },
}

/// A difference between two views, which share the members with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    Joined(Arc<Member>),
    /// The process, by what was last known of it. Another one of its name may have joined in the same moment.
    Left(Arc<Member>),
    /// The same process says something else of itself.
    Updated {
        before: Arc<Member>,
        after: Arc<Member>,
    },
}

/// The members at one moment, one a name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct View {
    by_name: BTreeMap<String, Arc<Member>>,
}

impl View {
    pub fn new() -> Self {
        Self::default()
    }

    /// Replaces all that is known. Of several members of one name the last counts.
    pub fn reset(&mut self, members: Vec<Member>) -> Vec<Change> {
        let by_name = members.into_iter().map(|member| (member.name.clone(), Arc::new(member))).collect();
        let before = std::mem::replace(self, Self { by_name });
        self.changes_since(&before)
    }

    /// Takes in what was seen. What is known already changes nothing.
    pub fn apply(&mut self, observed: Observed) -> Vec<Change> {
        let (before, after) = match observed {
            Observed::Present(member) => {
                (self.by_name.insert(member.name.clone(), member.clone()), Some(member))
            }
            Observed::Gone { name } => (self.by_name.remove(&name), None),
        };
        let (left, come) = difference(before.as_ref(), after.as_ref());
        left.into_iter().chain(come).collect()
    }

    /// What has to happen to `old` to make it this view: first who left, then who joined or changed, each in the order
    /// of the names. So an address that has a new process is given up before it is taken.
    pub fn changes_since(&self, old: &View) -> Vec<Change> {
        let gone = old.by_name.iter().filter(|(name, _)| !self.by_name.contains_key(*name));
        let mut pairs: Vec<_> = gone.map(|(name, member)| (name, Some(member), None)).collect();
        pairs.extend(self.by_name.iter().map(|(name, member)| (name, old.by_name.get(name), Some(member))));
        pairs.sort_by_key(|(name, ..)| *name);
        let (left, come): (Vec<_>, Vec<_>) =
            pairs.into_iter().map(|(_, before, after)| difference(before, after)).unzip();
        left.into_iter().chain(come).flatten().collect()
    }

    /// The member of this name.
    pub fn get(&self, name: &str) -> Option<&Member> {
        self.by_name.get(name).map(Arc::as_ref)
    }

    /// All, by name.
    pub fn members(&self) -> impl ExactSizeIterator<Item = &Member> {
        self.by_name.values().map(Arc::as_ref)
    }

    /// Those of a role, by name.
    pub fn of(&self, role: Role) -> impl Iterator<Item = &Member> {
        self.members().filter(move |member| member.role == role)
    }

    /// Those that are reached by gRPC at this address, by name: more than one, for instance, until the lease of a
    /// process has ended whose address another one has already.
    pub fn with_address<'a>(&'a self, address: &'a HostPort) -> impl Iterator<Item = &'a Member> {
        self.members().filter(move |member| member.address == *address)
    }
}

/// Who left, and who joined or changed, where one name stood for `before` and stands for `after`.
fn difference(before: Option<&Arc<Member>>, after: Option<&Arc<Member>>) -> (Option<Change>, Option<Change>) {
    match (before, after) {
        (Some(before), Some(after)) if before == after => (None, None),
        (Some(before), Some(after)) if before.is_same_process(after) => {
            (None, Some(Change::Updated { before: before.clone(), after: after.clone() }))
        }
        (before, after) => (before.cloned().map(Change::Left), after.cloned().map(Change::Joined)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::membership::tests::{member, second};

    #[derive(Debug, Clone)]
    enum Step {
        Apply(Observed),
        Reset(Vec<Member>),
    }

    /// Few of each, so that steps meet.
    fn any_member() -> impl Strategy<Value = Member> {
        (0..4u8, 0..3u8, 0..3u32).prop_map(|(name, incarnation, slots)| Member {
            incarnation: incarnation.to_string(),
            slots,
            ..member(&format!("m{name}"))
        })
    }

    fn any_step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => any_member().prop_map(|member| Step::Apply(Observed::Present(member.into()))),
            3 => (0..4u8).prop_map(|name| Step::Apply(Observed::Gone { name: format!("m{name}") })),
            1 => prop::collection::vec(any_member(), 0..6).prop_map(Step::Reset),
        ]
    }

    /// What a consumer makes of the changes, which must fit what it has.
    fn replay(known: &mut BTreeMap<String, Arc<Member>>, changes: Vec<Change>) {
        for change in changes {
            match change {
                Change::Joined(member) => {
                    assert_eq!(known.insert(member.name.clone(), member), None);
                }
                Change::Left(member) => assert_eq!(known.remove(&member.name), Some(member)),
                Change::Updated { before, after } => {
                    assert!(before.is_same_process(&after) && before != after);
                    assert_eq!(known.insert(after.name.clone(), after), Some(before));
                }
            }
        }
    }

    proptest! {
        #[test]
        fn row_12_a_view_is_what_was_seen_last_and_its_changes_tell_all(
            steps in prop::collection::vec(any_step(), 0..40),
            other in prop::collection::vec(any_member(), 0..6),
        ) {
            let (mut view, mut last, mut replayed) = (View::new(), BTreeMap::new(), BTreeMap::new());
            for step in steps {
                let before = view.clone();
                let changes = match step.clone() {
                    Step::Apply(observed) => view.apply(observed),
                    Step::Reset(members) => view.reset(members),
                };
                match step {
                    Step::Apply(Observed::Present(member)) => {
                        last.insert(member.name.clone(), member);
                    }
                    Step::Apply(Observed::Gone { name }) => {
                        last.remove(&name);
                    }
                    Step::Reset(members) => {
                        last = members.into_iter().map(|member| (member.name.clone(), Arc::new(member))).collect();
                    }
                }
                prop_assert_eq!(&changes, &view.changes_since(&before));
                replay(&mut replayed, changes);
                prop_assert_eq!(&view.by_name, &last);
                prop_assert_eq!(&replayed, &last);
            }
            // Of views that have nothing to do with each other, too.
            let mut elsewhere = View::new();
            elsewhere.reset(other);
            let mut known = elsewhere.by_name.clone();
            replay(&mut known, view.changes_since(&elsewhere));
            prop_assert_eq!(&known, &last);
            prop_assert_eq!(view.changes_since(&view), vec![]);
        }
    }

    #[test]
    fn a_new_incarnation_is_another_process() {
        let (old, new) = (Arc::new(member("a")), Arc::new(second("a")));
        let mut view = View::new();
        assert_eq!(view.apply(Observed::Present(old.clone())), [Change::Joined(old.clone())]);
        assert_eq!(
            view.apply(Observed::Present(new.clone())),
            [Change::Left(old.clone()), Change::Joined(new.clone())]
        );
        let mut later = View::new();
        later.reset(vec![member("b"), member("a")]);
        let b = Arc::new(member("b"));
        assert_eq!(later.changes_since(&view), [Change::Left(new), Change::Joined(old), Change::Joined(b)]);
    }

    #[test]
    fn members_are_found_by_name_role_and_address() {
        let mut view = View::new();
        let scheduler = Member { role: Role::Scheduler, ..member("s") };
        let twin = Member { address: member("a").address, ..member("c") };
        view.reset(vec![twin, member("b"), scheduler, member("a")]);
        let names = |members: Vec<&Member>| {
            members.into_iter().map(|member| member.name.clone()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(names(view.members().collect()), "a b c s");
        assert_eq!(names(view.of(Role::Executor).collect()), "a b c");
        assert_eq!(names(view.with_address(&member("a").address).collect()), "a c");
        assert_eq!(view.get("s").map(|member| member.role), Some(Role::Scheduler));
        assert_eq!(view.get("x"), None);
    }
}
