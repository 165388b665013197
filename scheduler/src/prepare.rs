//! From a request to something that can run: parsing, the plan cache, and planning on the computing threads.

use futures::future::BoxFuture;
use std::sync::Arc;
use std::time::Instant;

use polarway_common::{Error, ErrorKind};
use polarway_engine::offload;
use polarway_identity::audit;

use crate::plan::parameters::refuse_unbound;
use crate::plan::{Compiled, Statement, parse_in};
use crate::service::{Prepared, QueryService, Request};

impl QueryService {
    /// What kind of statement the request is, in its session's dialect, if its caller may send such a one.
    pub fn parse(&self, request: &Request) -> Result<Statement, Error> {
        let began = Instant::now();
        let parsed = self.parsed(request);
        self.note_failure(request, began, parsed.as_ref().err());
        parsed
    }

    fn parsed(&self, request: &Request) -> Result<Statement, Error> {
        let statement = parse_in(&request.sql, &request.settings)?;
        refuse_unbound(&request.sql, &request.settings)?;
        let what = match &statement {
            Statement::Command(command) => command.tag(),
            Statement::Query(_) | Statement::Explain(_) => "a query",
        };
        let allowed = request.caller.must_be(statement.needs(), what);
        if let Err(error) = &allowed {
            audit::denied(request.caller.owner(), what, None, error);
        }
        allowed?;
        Ok(statement)
    }

    /// Plans a query, if no plan is kept for it; only what has to be planned waits for a place.
    pub fn prepare<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<Prepared, Error>> {
        Box::pin(async move {
            self.refuse_while_draining()?;
            if let Some(compiled) = self.kept(request).await {
                return Ok(Prepared::Query(compiled));
            }
            let seen = self.planner.catalog().snapshot();
            let prepared = self.prepare_anew(request).await;
            // Another scheduler may have made the table a moment ago, before the news of it was here.
            if let Err(error) = &prepared
                && error.kind == ErrorKind::TableNotFound
                && matches!(self.planner.catalog().catch_up(&seen).await, Ok(true))
            {
                return self.prepare_anew(request).await;
            }
            prepared
        })
    }

    async fn prepare_anew(&self, request: &Request) -> Result<Prepared, Error> {
        match self.parse(request)? {
            Statement::Query(statement) => {
                let place = self.admission.enter_planning().await?;
                // Many clients send the same statement at once: the first of them planned it meanwhile.
                if place.waited
                    && let Some(compiled) = self.kept(request).await
                {
                    return Ok(Prepared::Query(compiled));
                }
                let slots = self.slots().await;
                let (planner, request) = (Arc::clone(&self.planner), request.clone());
                let planning = async move {
                    planner.compile(&request.sql, *statement, &request.settings, request.now, slots).await
                };
                let compiled = offload::compute(&self.local.cpu, "planning the query", planning).await?;
                Ok(Prepared::Query(compiled))
            }
            Statement::Explain(explain) => Ok(Prepared::Explain(explain)),
            Statement::Command(command) => Ok(Prepared::Command(*command)),
        }
    }

    /// The plan that is kept for the statement, if it is still the right one.
    async fn kept(&self, request: &Request) -> Option<Arc<Compiled>> {
        let compiled = self.planner.cached(&request.sql, &request.settings).await?;
        let holds = match compiled.decided_for_slots {
            Some(slots) => slots == self.slots().await,
            None => true,
        };
        holds.then_some(compiled)
    }

    /// Does planning that is called `what` on the computing threads, so much of it at a time.
    ///
    /// # Errors
    /// Those of `work`; `Overloaded` when it would have to wait too long.
    pub async fn planned<T: Send + 'static>(
        &self,
        what: &str,
        work: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, Error> {
        let _place = self.admission.enter_planning().await?;
        offload::compute(&self.local.cpu, what, work).await
    }

    /// Task slots of all executors that take tasks now.
    pub async fn slots(&self) -> u32 {
        self.staged.ballista.executors().await.iter().map(|executor| executor.slots).sum()
    }
}
