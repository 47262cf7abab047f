//! An agent on the official crate of the Agent Client Protocol, that does what its prompts say.
//!
//! Each line of a prompt is a step: see [`script`]. Its arguments say in what it differs from an
//! agent that keeps to the protocol: see [`Manners`]. Sessions are files in its working folder's
//! `.acp_agent`, or in `ACP_AGENT_HOME`, so that another process of it can continue them.

mod manners;
mod output;
mod script;
mod sessions;

use std::sync::Arc;

use agent_client_protocol::{
    Agent, Client, Error, Lines, Result,
    schema::ProtocolVersion,
    v1::{
        ConnectionTo, Responder,
        schema::{
            AgentCapabilities, CancelNotification, Implementation, InitializeRequest,
            InitializeResponse, LoadSessionRequest, LoadSessionResponse, NewSessionRequest,
            NewSessionResponse, PromptCapabilities, PromptRequest, PromptResponse,
            ResumeSessionRequest, ResumeSessionResponse, SessionCapabilities,
            SessionResumeCapabilities, SetSessionModeRequest, SetSessionModeResponse,
        },
    },
};
use serde_json::{Value, json};

use manners::Manners;
use output::Output;
use script::Turn;
use sessions::Sessions;

type Connection = ConnectionTo<Client>;

#[tokio::main]
async fn main() -> Result<()> {
    // What the client must not do ends all, and not only what it was done to.
    let tell = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        tell(panic);
        std::process::exit(101);
    }));
    let desk = Desk {
        manners: Manners::of_arguments(),
        output: Output::default(),
        sessions: Arc::default(),
    };
    desk.manners.begin(&desk.output).await;
    serve(desk).await
}

/// Answers until the client goes.
async fn serve(desk: Desk) -> Result<()> {
    let lines = Lines::new(desk.output.sink(), output::input());
    let [hello, create, load, resume, mode, prompt, cancel] = std::array::from_fn(|_| desk.clone());
    Agent
        .v1()
        .name("acp_agent")
        .on_receive_request(
            async move |request, responder, _| hello.hello(&request, responder),
            agent_client_protocol::on_receive_request!(),
        )
        .on_receive_request(
            async move |request, responder, to| create.create(&request, responder, &to),
            agent_client_protocol::on_receive_request!(),
        )
        .on_receive_request(
            async move |request, responder, to| load.load(&request, responder, &to),
            agent_client_protocol::on_receive_request!(),
        )
        .on_receive_request(
            async move |request, responder, to| resume.resume(&request, responder, &to),
            agent_client_protocol::on_receive_request!(),
        )
        .on_receive_request(
            async move |request, responder, _| mode.mode(&request, responder),
            agent_client_protocol::on_receive_request!(),
        )
        .on_receive_request(
            async move |request, responder, to| prompt.prompt(&request, responder, &to),
            agent_client_protocol::on_receive_request!(),
        )
        .on_receive_notification(
            async move |_: CancelNotification, _| {
                cancel.sessions.cancel();
                Ok(())
            },
            agent_client_protocol::on_receive_notification!(),
        )
        .connect_to(lines)
        .await
}

/// What answers the client.
#[derive(Clone)]
struct Desk {
    manners: Manners,
    output: Output,
    sessions: Arc<Sessions>,
}

impl Desk {
    fn hello(
        &self,
        request: &InitializeRequest,
        responder: Responder<InitializeResponse>,
    ) -> Result<()> {
        // What the client offers is what it says it does.
        let client = &request.client_capabilities;
        assert!(!client.terminal && !client.fs.read_text_file && !client.fs.write_text_file);
        assert_eq!(request.protocol_version, ProtocolVersion::V1);
        let Manners { resumes, loads, .. } = self.manners;
        let abilities = AgentCapabilities::new()
            .load_session(loads)
            .prompt_capabilities(PromptCapabilities::new().embedded_context(true))
            .session_capabilities(
                SessionCapabilities::new().resume(resumes.then(SessionResumeCapabilities::new)),
            );
        let hello = InitializeResponse::new(ProtocolVersion::V1)
            .agent_capabilities(abilities)
            .agent_info(Implementation::new("acp_agent", "7.0"));
        responder.respond(hello)
    }

    fn create(
        &self,
        request: &NewSessionRequest,
        responder: Responder<NewSessionResponse>,
        to: &Connection,
    ) -> Result<()> {
        assert!(request.cwd.is_absolute());
        let id = self.sessions.create();
        if self.manners.tells_commands {
            let commands = json!([{"name": "fix", "description": "repairs it"}]);
            let update = json!({"sessionUpdate": "available_commands_update",
                "availableCommands": commands});
            to.send_notification(script::update(&id, update))?;
        }
        responder.respond(NewSessionResponse::new(id).modes(sessions::modes("build")))
    }

    fn load(
        &self,
        request: &LoadSessionRequest,
        responder: Responder<LoadSessionResponse>,
        to: &Connection,
    ) -> Result<()> {
        match self.sessions.open(&request.session_id.0) {
            Some(history) => {
                replay(to, &request.session_id.0, history)?;
                responder.respond(LoadSessionResponse::new())
            }
            None => responder.respond_with_error(not_found()),
        }
    }

    fn resume(
        &self,
        request: &ResumeSessionRequest,
        responder: Responder<ResumeSessionResponse>,
        to: &Connection,
    ) -> Result<()> {
        match self.sessions.open(&request.session_id.0) {
            Some(history) => {
                if self.manners.replays_when_resumed {
                    replay(to, &request.session_id.0, history)?;
                }
                responder.respond(ResumeSessionResponse::new())
            }
            None => responder.respond_with_error(not_found()),
        }
    }

    fn mode(
        &self,
        request: &SetSessionModeRequest,
        responder: Responder<SetSessionModeResponse>,
    ) -> Result<()> {
        self.sessions.set_mode(&request.session_id.0, &request.mode_id.0);
        responder.respond(SetSessionModeResponse::new())
    }

    fn prompt(
        &self,
        request: &PromptRequest,
        responder: Responder<PromptResponse>,
        to: &Connection,
    ) -> Result<()> {
        let turn = Turn::new(request, &responder, to, &self.sessions, &self.output);
        to.spawn(async move { turn.run(responder).await })
    }
}

/// Tells again what was said.
fn replay(to: &Connection, session: &str, history: Vec<Value>) -> Result<()> {
    for update in history {
        to.send_notification(script::update(session, update))?;
    }
    Ok(())
}

fn not_found() -> Error {
    Error::new(-32002, "Resource not found")
}
