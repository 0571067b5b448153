//! `strongroom-device` against a real SoftHSM, and against a module that fails on purpose.

mod absence;
mod faulty_module;
mod fixture;
mod keys;
mod pin;
