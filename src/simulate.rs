//! `watchdog simulate`
use crate::settings::{Flag, World};
/// stub
pub(crate) fn run(_: &[Flag], _: &str, _: bool, _: &World) -> u8 {
    125
}
