//! The part of Ballista's scheduler service that executors need. Submissions by Ballista's own clients are refused:
//! they would come around admission, path policy and the driver that sees an attempt through.

use std::sync::Arc;

use async_trait::async_trait;
use ballista_core::BALLISTA_PROTOCOL_VERSION;
use ballista_core::serde::protobuf::scheduler_grpc_server::SchedulerGrpc;
use ballista_core::serde::protobuf::{
    CancelJobParams, CancelJobResult, CleanJobDataParams, CleanJobDataResult, CreateUpdateSessionParams,
    CreateUpdateSessionResult, ExecuteQueryParams, ExecuteQueryResult, ExecutorStoppedParams,
    ExecutorStoppedResult, GetJobMetricsParams, GetJobMetricsResult, GetJobStatusParams, GetJobStatusResult,
    HeartBeatParams, HeartBeatResult, PollWorkParams, PollWorkResult, RegisterExecutorParams,
    RegisterExecutorResult, RemoveSessionParams, RemoveSessionResult, UpdateTaskStatusParams,
    UpdateTaskStatusResult,
};
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use polarway_proto::progress::SCHEDULER_HEADER;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::{Request, Response, Status};

use super::ballista::{Ballista, Server};
use crate::opaque::Opaque;

/// See the module's page.
#[derive(Clone)]
pub struct ExecutorDoor {
    ballista: Opaque<Ballista>,
    server: Opaque<Server>,
    /// Tells this process from one that had its address before.
    incarnation: MetadataValue<Ascii>,
}

impl ExecutorDoor {
    pub fn new(ballista: Ballista) -> Self {
        let incarnation = MetadataValue::from(uuid::Uuid::now_v7().as_u64_pair().1);
        let server = Opaque::new(Arc::new(ballista.server().clone()));
        Self { ballista: Opaque::new(Arc::new(ballista)), server, incarnation }
    }
}

type Answer<T> = Result<Response<T>, Status>;

/// Ballista's side of the calls. They are not made in the trait's methods, since there rustc would look into the server.
impl ExecutorDoor {
    fn register(&self, request: RegisterExecutorParams) -> BoxFuture<'_, Answer<RegisterExecutorResult>> {
        Box::pin(async move {
            let Some(executor) = &request.metadata else {
                return Err(Status::invalid_argument("the registration is missing"));
            };
            if executor.ballista_protocol_version != BALLISTA_PROTOCOL_VERSION {
                return Err(Status::failed_precondition("the executor is of another version"));
            }
            self.ballista.register(executor).await?;
            Ok(Response::new(RegisterExecutorResult { success: true }))
        })
    }

    fn heart_beat(&self, request: Request<HeartBeatParams>) -> BoxFuture<'_, Answer<HeartBeatResult>> {
        Box::pin(self.ballista.heart_beat(request))
    }

    fn report(
        &self,
        request: Request<UpdateTaskStatusParams>,
    ) -> BoxFuture<'_, Answer<UpdateTaskStatusResult>> {
        SchedulerGrpc::update_task_status(self.server.as_ref(), request)
    }
}

fn refused<T>() -> Answer<T> {
    Err(Status::unimplemented("this service is for executors; submit statements by Flight SQL"))
}

#[async_trait]
impl SchedulerGrpc for ExecutorDoor {
    type ExecuteQueryPushStream = BoxStream<'static, Result<GetJobStatusResult, Status>>;

    async fn register_executor(
        &self,
        request: Request<RegisterExecutorParams>,
    ) -> Answer<RegisterExecutorResult> {
        self.register(request.into_inner()).await
    }

    async fn heart_beat_from_executor(&self, request: Request<HeartBeatParams>) -> Answer<HeartBeatResult> {
        let mut answer = self.heart_beat(request).await?;
        answer.metadata_mut().insert(SCHEDULER_HEADER, self.incarnation.clone());
        Ok(answer)
    }

    async fn update_task_status(
        &self,
        request: Request<UpdateTaskStatusParams>,
    ) -> Answer<UpdateTaskStatusResult> {
        self.report(request).await
    }

    async fn executor_stopped(
        &self,
        request: Request<ExecutorStoppedParams>,
    ) -> Answer<ExecutorStoppedResult> {
        // Ballista would keep it for the time that a terminating executor may take.
        self.ballista.gone(&request.get_ref().executor_id).await;
        Ok(Response::new(ExecutorStoppedResult {}))
    }

    async fn poll_work(&self, _: Request<PollWorkParams>) -> Answer<PollWorkResult> {
        refused()
    }

    async fn create_update_session(
        &self,
        _: Request<CreateUpdateSessionParams>,
    ) -> Answer<CreateUpdateSessionResult> {
        refused()
    }

    async fn remove_session(&self, _: Request<RemoveSessionParams>) -> Answer<RemoveSessionResult> {
        refused()
    }

    async fn execute_query_push(
        &self,
        _: Request<ExecuteQueryParams>,
    ) -> Answer<Self::ExecuteQueryPushStream> {
        refused()
    }

    async fn execute_query(&self, _: Request<ExecuteQueryParams>) -> Answer<ExecuteQueryResult> {
        refused()
    }

    async fn get_job_status(&self, _: Request<GetJobStatusParams>) -> Answer<GetJobStatusResult> {
        refused()
    }

    async fn get_job_metrics(&self, _: Request<GetJobMetricsParams>) -> Answer<GetJobMetricsResult> {
        refused()
    }

    async fn cancel_job(&self, _: Request<CancelJobParams>) -> Answer<CancelJobResult> {
        refused()
    }

    async fn clean_job_data(&self, _: Request<CleanJobDataParams>) -> Answer<CleanJobDataResult> {
        refused()
    }
}
