//! The program `bowline` as people use it: real processes, a relay, and files on a disk.

mod chat;
mod common;
mod hostile;
mod serve;
mod transfer;
