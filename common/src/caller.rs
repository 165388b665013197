//! Who sends a request, and what that allows.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind};

/// What somebody may do; each role may do what those before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Ask, and see what is its own.
    Read,
    /// Change rows and tables.
    Write,
    /// Say what is read from where, and see and end what others have begun.
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
}

impl Caller {
    pub fn new(name: impl Into<Arc<str>>, role: Role) -> Self {
        Self { name: name.into(), role }
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

    /// Whether it may see and end what was made by the caller of the name `owner`.
    pub fn may_touch(&self, owner: &str) -> bool {
        self.role == Role::Admin || *self.name == *owner
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
}
