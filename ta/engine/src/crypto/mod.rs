//! The cryptography that messages and certificates share.

pub mod ecdsa;
pub mod rsa;
