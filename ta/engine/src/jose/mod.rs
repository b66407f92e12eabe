//! JSON Web Signature and Encryption (RFC 7515, 7516, 7518), in place.
