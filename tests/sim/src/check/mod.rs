//! The checkers that keep books of their own: relays, work and secrets. What needs none stands where the facts are: in
//! the model, the driver and the world.

mod relays;
mod secrets;
mod work;

pub(crate) use relays::Relays;
pub(crate) use secrets::Secrets;
pub(crate) use work::Work;
