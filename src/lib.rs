#![doc = include_str!("README.md")]

pub mod as_ss;
pub mod cli;
pub mod command;
pub mod error;
pub mod exit_status;
pub mod kernel;
pub mod listener;
pub mod manual;
pub mod numbers;
pub mod output;
pub mod port;
pub mod report;
pub mod snapshot;
pub mod source;
pub mod sys;
