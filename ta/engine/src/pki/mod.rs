//! Certificates: paths, identities, requests (RFC 5280, RFC 2986).
