//! Mapping what a container holds, whichever container it is.

/// A container of a `T` whose value can be mapped. For every container `c`, `c.fmap(|x| x)` is `c`, and `c.fmap(f).fmap(g)` is
/// `c.fmap(|x| g(f(x)))`.
///
/// ```
/// use polarway_client::Functor;
///
/// fn doubled<C: Functor<i64>>(container: C) -> C::Output<i64> {
///     container.fmap(|value| value * 2)
/// }
/// assert_eq!(doubled(Some(21)), Some(42));
/// assert_eq!(doubled(Ok::<_, String>(21)), Ok(42));
/// ```
pub trait Functor<T> {
    /// The same container of another type.
    type Output<U>;

    /// Maps the value, if there is one.
    fn fmap<U, F>(self, f: F) -> Self::Output<U>
    where
        F: FnOnce(T) -> U;
}

impl<T, E> Functor<T> for Result<T, E> {
    type Output<U> = Result<U, E>;

    fn fmap<U, F>(self, f: F) -> Result<U, E>
    where
        F: FnOnce(T) -> U,
    {
        self.map(f)
    }
}

impl<T> Functor<T> for Option<T> {
    type Output<U> = Option<U>;

    fn fmap<U, F>(self, f: F) -> Option<U>
    where
        F: FnOnce(T) -> U,
    {
        self.map(f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn row_31_the_laws_of_functors_hold(result: Result<i32, String>, option: Option<i32>) {
            let (f, g) = (|x: i32| i64::from(x) + 1, |x: i64| x.to_string());
            prop_assert_eq!(result.clone().fmap(|x| x), result.clone());
            prop_assert_eq!(result.clone().fmap(f).fmap(g), result.fmap(|x| g(f(x))));
            prop_assert_eq!(option.fmap(|x| x), option);
            prop_assert_eq!(option.fmap(f).fmap(g), option.fmap(|x| g(f(x))));
        }
    }
}
