//! Slots made, opened, refused and lost, on a private SoftHSM behind the real device process.

mod absence;
mod damage;
mod fake;
mod faults;
mod fixture;
mod people;
mod pin;
mod round_trip;
mod shamir;
mod table;
mod tpm;
