//! The narrow way by which reads ask for a timeline's enrolment: the writer acts on it.

use skyweir_types::ActorId;

/// Why a read asks for a new generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EnrolReason {
    /// It was read and isn't enrolled.
    Read,
    /// It keeps fewer references than it should: the viewer follows fewer accounts by now.
    RateRose,
    /// Too few living references stand above its floor.
    FloorHigh,
}

/// Takes the wishes of reads. Never waits: wishes over a limit are dropped, and the next read has them again.
pub trait Enrol: Send + Sync {
    /// Asks for a new generation. Asking again while it is under way changes nothing.
    fn enrol(&self, viewer: ActorId, why: EnrolReason);
    /// Notes a read of an enrolled timeline.
    fn touch(&self, viewer: ActorId);
    /// Asks to lower a timeline's rate.
    fn lower_rate(&self, viewer: ActorId, rate: f32);
    /// Whether the cache has got all that the task log held when this process began. Until then reads merge, so that
    /// what was readable before a crash is readable after it.
    fn caught_up(&self) -> bool;
}
