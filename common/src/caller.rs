//! Who sends a request, and what that allows.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind};
use crate::namespace::Namespace;

/// What somebody may do; each role may do what those before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Ask, and see what is its own.
    Read,
    /// Change rows and tables.
    Write,
    /// Say what is read from where, and see and end what others of the namespace have begun.
    Admin,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Role::Read => "read",
            Role::Write => "write",
            Role::Admin => "admin",
        })
    }
}

/// Somebody who sends requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    name: Arc<str>,
    role: Role,
    namespace: Namespace,
    owner: Arc<str>,
}

impl Caller {
    /// Somebody of the namespace `default`.
    pub fn new(name: impl Into<Arc<str>>, role: Role) -> Self {
        let name = name.into();
        Self { owner: Arc::clone(&name), name, role, namespace: Namespace::default() }
    }

    /// The same name and role in `namespace`.
    #[must_use]
    pub fn of(self, namespace: Namespace) -> Self {
        let owner = match namespace.is_default() {
            true => Arc::clone(&self.name),
            // No name of a caller has a slash, and none of a namespace.
            false => format!("{namespace}/{}", self.name).into(),
        };
        Self { owner, namespace, ..self }
    }

    /// Whoever reaches a server that does not ask who calls. It has no name.
    pub fn anyone() -> Self {
        Self::new("", Role::Admin)
    }

    /// Empty for [`Caller::anyone`].
    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn role(&self) -> Role {
        self.role
    }

    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// By what it is noted whose something is: the name, in other namespaces than `default` behind the namespace's, as in
    /// `acme/ana`.
    pub fn owner(&self) -> &str {
        &self.owner
    }

    /// Whether it may see and end what is noted as `owner`'s: what is its own, and as an administrator what is of its
    /// namespace.
    pub fn may_touch(&self, owner: &str) -> bool {
        let administers = || match owner.split_once('/') {
            None => self.namespace.is_default(),
            Some((namespace, _)) => namespace == self.namespace.as_str(),
        };
        *self.owner == *owner || (self.role == Role::Admin && administers())
    }

    /// # Errors
    /// `NotAllowed` to whoever is in another namespace than `default`: `what` is about the whole cluster.
    pub fn must_be_of_default(&self, what: &str) -> Result<(), Error> {
        if self.namespace.is_default() {
            return Ok(());
        }
        let told = format!(
            "{what} is about the whole cluster, and `{}` is of the namespace `{}`",
            self.name, self.namespace
        );
        Err(Error::new(ErrorKind::NotAllowed, told).with_hint("ask somebody of the namespace `default`"))
    }

    /// # Errors
    /// `NotAllowed` if its role is below `role`, which `what` needs.
    pub fn must_be(&self, role: Role, what: &str) -> Result<(), Error> {
        if self.role >= role {
            return Ok(());
        }
        let told = format!("{what} needs the role `{role}`; `{}` has the role `{}`", self.name, self.role);
        Err(Error::new(ErrorKind::NotAllowed, told))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_includes_those_below_it() {
        let writer = Caller::new("ana", Role::Write);
        assert_eq!(writer.must_be(Role::Read, "SELECT"), Ok(()));
        assert_eq!(writer.must_be(Role::Write, "INSERT"), Ok(()));
        let refused = writer.must_be(Role::Admin, "CREATE STREAM").unwrap_err();
        assert_eq!(refused.kind, ErrorKind::NotAllowed);
        assert_eq!(refused.message, "CREATE STREAM needs the role `admin`; `ana` has the role `write`");
        assert_eq!(Caller::anyone().must_be(Role::Admin, "CREATE STREAM"), Ok(()));
    }

    #[test]
    fn what_others_have_made_is_an_admins_business_only() {
        let (ana, admin) = (Caller::new("ana", Role::Write), Caller::new("root", Role::Admin));
        assert!(ana.may_touch("ana") && !ana.may_touch("bob") && !ana.may_touch(""));
        assert!(admin.may_touch("ana") && Caller::anyone().may_touch("ana"));
    }

    #[test]
    fn row_47_an_admin_is_one_of_its_namespace() {
        let of = |name: &'static str, role, namespace| {
            Caller::new(name, role).of(Namespace::parse(namespace).unwrap())
        };
        let (ana, boss, other) = (
            of("ana", Role::Write, "acme"),
            of("boss", Role::Admin, "acme"),
            of("root", Role::Admin, "beta"),
        );
        assert_eq!((ana.name(), ana.owner()), ("ana", "acme/ana"));
        assert!(ana.may_touch("acme/ana") && boss.may_touch("acme/ana"));
        assert!(!other.may_touch("acme/ana") && !Caller::new("root", Role::Admin).may_touch("acme/ana"));
        for owner in ["ana", "", "beta/ana", "acme"] {
            assert!(!ana.may_touch(owner) && !boss.may_touch(owner), "{owner}");
        }
        assert_eq!(boss.must_be_of_default("`/api`").unwrap_err().kind, ErrorKind::NotAllowed);
        let default = of("ana", Role::Write, "default");
        assert_eq!(default, Caller::new("ana", Role::Write));
        assert_eq!((default.owner(), default.must_be_of_default("`/api`")), ("ana", Ok(())));
    }
}
