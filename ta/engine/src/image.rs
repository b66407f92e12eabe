//! Signed images of trusted applications.
