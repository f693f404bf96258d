//! The `bowline` program.
#![forbid(unsafe_code)]

mod chat;
mod demo;
mod doctor;
mod files;
mod network;
mod oneshot;
mod replay;
mod serve;
#[cfg(feature = "sim")]
mod sim;
mod text;

use std::error::Error;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

/// WebRTC peers that find each other, stay connected and lose nothing.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true, after_help = HELP)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Send(oneshot::send::Arguments),
    Receive(oneshot::receive::Arguments),
    Chat(chat::Arguments),
    Demo(demo::Arguments),
    Doctor(doctor::Arguments),
    Replay(replay::Arguments),
    Serve(serve::Arguments),
    Token(serve::TokenArguments),
    #[cfg(feature = "sim")]
    Sim(sim::Arguments),
}

impl Command {
    /// What is shown on standard error unless the environment says something else.
    fn log_level(&self) -> &'static str {
        match self {
            Self::Send(_)
            | Self::Receive(_)
            | Self::Chat(_)
            | Self::Demo(_)
            | Self::Doctor(_)
            | Self::Replay(_)
            | Self::Serve(_)
            | Self::Token(_) => "warn",
            // Every simulated endpoint warns that it encrypts nothing, and the simulated servers say each 401.
            #[cfg(feature = "sim")]
            Self::Sim(_) => "error,stun_proto=off",
        }
    }
}

const HELP: &str = "\
Examples:
  bowline send photo.jpg              a file for somebody whom you tell the code
  bowline receive lusab-babad-gutih   the file of somebody who told you the code
  bowline chat kitchen                talk with everybody in a room
  bowline doctor                      what this network lets through
  bowline demo                        three peers on this machine, no set-up
  bowline serve                       a page and a signalling relay for this machine
  bowline serve --listen [::]:9000    the same for everybody who can reach it
  bowline demo --record alice.rec     the demo, with a recording of what alice did
  bowline replay alice.rec            what alice did, step by step

Exit codes: 0 all went well, 1 something failed, 2 the command line is wrong.
Set BOWLINE_LOG=debug (or info, trace, bowline_tokio=debug) to see more on standard error.";

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let filter = EnvFilter::try_from_env("BOWLINE_LOG")
        .unwrap_or_else(|_| EnvFilter::new(arguments.command.log_level()));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    let result = match arguments.command {
        Command::Send(arguments) => oneshot::send::run(arguments).await,
        Command::Receive(arguments) => oneshot::receive::run(arguments).await,
        Command::Chat(arguments) => chat::run(arguments).await,
        Command::Demo(arguments) => demo::run(arguments).await,
        Command::Doctor(arguments) => doctor::run(arguments).await,
        Command::Replay(arguments) => replay::run(&arguments),
        Command::Serve(arguments) => serve::run(arguments).await,
        Command::Token(arguments) => serve::token(&arguments),
        #[cfg(feature = "sim")]
        Command::Sim(arguments) => sim::run(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bowline: {}", with_sources(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

/// An error and what caused it, on one line.
fn with_sources(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}
