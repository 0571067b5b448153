//! `strongroom-device` against a real SoftHSM, a real swtpm, and a module that fails on purpose.

mod absence;
mod card;
mod faulty_module;
mod fixture;
mod keys;
mod pin;
mod tpm;
