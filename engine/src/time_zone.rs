//! Functions that know the session's time zone: `now()`, `to_timestamp()` and their like.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::logical_expr::ScalarUDF;

/// Scalar functions by name.
pub type Functions = HashMap<String, Arc<ScalarUDF>>;

/// Those of `functions` whose answer depends on the session's configuration, made anew for `options`; none if the
/// session set no time zone.
pub fn localized<'a>(
    functions: &'a Functions,
    options: &'a ConfigOptions,
) -> impl Iterator<Item = (&'a String, Arc<ScalarUDF>)> {
    let wanted = options.execution.time_zone.is_some();
    functions
        .iter()
        .filter(move |_| wanted)
        .filter_map(|(name, function)| Some((name, Arc::new(function.inner().with_updated_config(options)?))))
}

/// All of `functions`, in the session's time zone.
pub fn all_localized(functions: &Functions, options: &ConfigOptions) -> Functions {
    let mut all = functions.clone();
    all.extend(localized(functions, options).map(|(name, function)| (name.clone(), function)));
    all
}
