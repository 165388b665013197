//! What a statement takes and gives, told without running it.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions, new_null_array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use chrono::{DateTime, Utc};
use datafusion::logical_expr::LogicalPlan;
use polarway_common::Error;
use polarway_engine::errors::classify;
use polarway_engine::output::plain_schema;
use polarway_engine::settings::Settings;

use super::parameters::{Parameter, Placeholder, bind, numbered, placeholders};
use super::{Planner, Statement, dialect_of, parse_in};

/// See the module's page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// One field for each parameter: the numbered ones first, under their numbers, then the named ones. `Null` where the
    /// statement leaves the type open.
    pub parameters: SchemaRef,
    /// The columns of its result; with parameters whose types are open this is a guess. None if it gives no rows of its
    /// own.
    pub result: Option<SchemaRef>,
}

impl Planner {
    /// Describes a statement.
    ///
    /// # Errors
    /// Those of parsing and planning it.
    pub async fn describe(
        &self,
        sql: &str,
        settings: &Settings,
        now: DateTime<Utc>,
    ) -> Result<Description, Error> {
        let found = placeholders(sql, dialect_of(settings)?.as_ref())?;
        let open = parameters_of(&found, |_| None);
        let Statement::Query(statement) = parse_in(&numbered(sql, &found), settings)? else {
            return Ok(Description { parameters: open, result: None });
        };
        let (state, _scope) = self.state(settings, now)?;
        let planned = state.statement_to_plan(*statement).await;
        let (plan, parameters) = match planned {
            Ok(plan) => {
                let types = plan.get_parameter_types().map_err(|error| classify(&error))?;
                let of = |parameter: &Parameter| types.get(&parameter.to_string()).cloned().flatten();
                (plan, parameters_of(&found, of))
            }
            Err(error) if found.is_empty() => return Err(self.suggest(settings, classify(&error))),
            // The types of some parameters have to be known to plan it; with nulls it shows whether anything else is
            // wrong.
            Err(_) => {
                let text = bind(sql, dialect_of(settings)?.as_ref(), &nulls(&open)?)?;
                let Statement::Query(statement) = parse_in(&text, settings)? else {
                    return Ok(Description { parameters: open, result: None });
                };
                let plan = state.statement_to_plan(*statement).await;
                (plan.map_err(|error| self.suggest(settings, classify(&error)))?, open)
            }
        };
        Ok(Description { parameters, result: Some(result_of(&plan)) })
    }
}

fn result_of(plan: &LogicalPlan) -> SchemaRef {
    plain_schema(&Arc::new(plan.schema().as_arrow().clone()))
}

fn parameters_of(
    placeholders: &[Placeholder],
    type_of: impl Fn(&Parameter) -> Option<DataType>,
) -> SchemaRef {
    let named = placeholders.iter().map(|placeholder| &placeholder.parameter);
    // A statement that names the third value takes the first two as well.
    let last = named.clone().filter_map(|parameter| match parameter {
        Parameter::Position(position) => Some(*position),
        Parameter::Name(_) => None,
    });
    let numbered = (1..=last.max().unwrap_or(0)).map(Parameter::Position);
    let names: BTreeSet<&Parameter> =
        named.filter(|parameter| matches!(parameter, Parameter::Name(_))).collect();
    let fields = numbered.chain(names.into_iter().cloned()).map(|parameter| {
        let name = match &parameter {
            Parameter::Position(position) => position.to_string(),
            Parameter::Name(name) => name.clone(),
        };
        Field::new(name, type_of(&parameter).unwrap_or(DataType::Null), true)
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

fn nulls(schema: &SchemaRef) -> Result<RecordBatch, Error> {
    let columns = schema.fields().iter().map(|field| new_null_array(field.data_type(), 1)).collect();
    let options = RecordBatchOptions::new().with_row_count(Some(1));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)
        .map_err(|error| Error::internal(error.to_string()))
}
