//! What a user does with a project, through the binary: the one integration target.

mod bad_input;
mod demo;
mod house;
mod loop_closed;
mod models;
mod project;
mod quarantine;
mod real_data;
