//! An agent on the official crate of the Agent Client Protocol, that does what its prompts say.
//!
//! Each line of a prompt is a step: see [`script`]. Its arguments say in what it differs from an
//! agent that keeps to the protocol: see [`Manners`]. Sessions are files in its working folder's
//! `.acp_agent`, so that another process of it can continue them.

mod manners;
mod output;
mod script;
mod sessions;

use std::sync::Arc;

use agent_client_protocol::{
    Agent, Error, Lines, Result,
    schema::ProtocolVersion,
    v1::schema::{
        AgentCapabilities, CancelNotification, Implementation, InitializeRequest,
        InitializeResponse, LoadSessionRequest, LoadSessionResponse, NewSessionRequest,
        NewSessionResponse, PromptCapabilities, PromptRequest, ResumeSessionRequest,
        ResumeSessionResponse, SessionCapabilities, SessionResumeCapabilities,
        SetSessionModeRequest, SetSessionModeResponse,
    },
};
use serde_json::json;

use manners::Manners;
use output::Output;
use script::Turn;
use sessions::Sessions;

#[tokio::main]
async fn main() -> Result<()> {
    let manners = Manners::of_arguments();
    let output = Output::default();
    manners.begin(&output).await;
    let sessions = Arc::new(Sessions::default());
    serve(manners, output, sessions).await
}

/// Answers until the client goes.
async fn serve(manners: Manners, output: Output, sessions: Arc<Sessions>) -> Result<()> {
    let lines = Lines::new(output.sink(), output::input());
    let (create, load, resume) = (sessions.clone(), sessions.clone(), sessions.clone());
    let (prompts, modes, cancels) = (sessions.clone(), sessions.clone(), sessions);
    Agent
        .v1()
        .name("acp_agent")
        .on_receive_request(
            async move |request: InitializeRequest, responder, _| {
                // What the client offers is what it says it does.
                let client = &request.client_capabilities;
                assert!(
                    !client.terminal && !client.fs.read_text_file && !client.fs.write_text_file
                );
                assert_eq!(request.protocol_version, ProtocolVersion::V1);
                responder.respond(hello(manners))
            },
            agent_client_protocol::on_receive_request!(),
        )
        .on_receive_request(
            async move |request: NewSessionRequest, responder, connection| {
                assert!(request.cwd.is_absolute());
                let id = create.create();
                if manners.tells_commands {
                    connection.send_notification(script::update(
                        &id,
                        json!({
                            "sessionUpdate": "available_commands_update",
                            "availableCommands": [{"name": "fix", "description": "repairs it"}],
                        }),
                    ))?;
                }
                responder.respond(NewSessionResponse::new(id).modes(sessions::modes("build")))
            },
            agent_client_protocol::on_receive_request!(),
        )
        .on_receive_request(
            async move |request: LoadSessionRequest, responder, connection| {
                let Some(history) = load.open(&request.session_id.0) else {
                    return responder.respond_with_error(Error::new(-32002, "Resource not found"));
                };
                for update in history {
                    let id = request.session_id.0.to_string();
                    connection.send_notification(script::update(&id, update))?;
                }
                responder.respond(LoadSessionResponse::new())
            },
            agent_client_protocol::on_receive_request!(),
        )
        .on_receive_request(
            async move |request: ResumeSessionRequest, responder, connection| {
                let Some(history) = resume.open(&request.session_id.0) else {
                    return responder.respond_with_error(Error::new(-32002, "Resource not found"));
                };
                for update in history.into_iter().filter(|_| manners.replays_when_resumed) {
                    let id = request.session_id.0.to_string();
                    connection.send_notification(script::update(&id, update))?;
                }
                responder.respond(ResumeSessionResponse::new())
            },
            agent_client_protocol::on_receive_request!(),
        )
        .on_receive_request(
            async move |request: SetSessionModeRequest, responder, _| {
                modes.set_mode(&request.session_id.0, &request.mode_id.0);
                responder.respond(SetSessionModeResponse::new())
            },
            agent_client_protocol::on_receive_request!(),
        )
        .on_receive_request(
            async move |request: PromptRequest, responder, connection| {
                let turn = Turn::new(&request, &responder, &connection, &prompts, &output);
                connection.spawn(async move { turn.run(responder).await })
            },
            agent_client_protocol::on_receive_request!(),
        )
        .on_receive_notification(
            async move |_: CancelNotification, _| {
                cancels.cancel();
                Ok(())
            },
            agent_client_protocol::on_receive_notification!(),
        )
        .connect_to(lines)
        .await
}

fn hello(manners: Manners) -> InitializeResponse {
    let resume = manners.resumes.then(SessionResumeCapabilities::new);
    let abilities = AgentCapabilities::new()
        .load_session(manners.loads)
        .prompt_capabilities(PromptCapabilities::new().embedded_context(true))
        .session_capabilities(SessionCapabilities::new().resume(resume));
    InitializeResponse::new(ProtocolVersion::V1)
        .agent_capabilities(abilities)
        .agent_info(Implementation::new("acp_agent", "7.0"))
}
