//! (stub: see the plan)
