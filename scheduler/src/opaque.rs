//! A shared value that the compiler does not look into.
//!
//! An `async` method of a trait (by `async_trait`) has bounds of its own, under which rustc proves anew, and for each of them,
//! that all a future holds can be sent. For a value that reaches all of DataFusion's plans and the SQL parser's trees that
//! takes seconds a method and took minutes for this crate. Behind a trait object there is nothing to prove. The same goes for
//! calls of such a trait for such a value: they belong in functions without bounds.

use std::ops::Deref;
use std::sync::Arc;

trait Hold<T>: Send + Sync {
    fn held(&self) -> &Arc<T>;
}

struct Holder<T>(Arc<T>);

impl<T: Send + Sync> Hold<T> for Holder<T> {
    fn held(&self) -> &Arc<T> {
        &self.0
    }
}

/// See the module's page.
pub struct Opaque<T>(Arc<dyn Hold<T>>);

impl<T: Send + Sync + 'static> Opaque<T> {
    pub fn new(value: Arc<T>) -> Self {
        Self(Arc::new(Holder(value)))
    }
}

impl<T> Clone for Opaque<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Deref for Opaque<T> {
    type Target = Arc<T>;

    fn deref(&self) -> &Arc<T> {
        self.0.held()
    }
}
