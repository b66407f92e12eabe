"""Reads `cargo metadata` and fails when a crate depends on one it must not know.

Wire and engine know no platform; the TAM and the PKI tool never share code with the engine they
are checked against.
"""

import json
import sys

# What each crate may use of ours, tests included. A crate that is not here is refused.
MAY_USE = {
    "otrp-wire": set(),
    "otrp-engine": {"otrp-wire"},
    "otrp-trust": {"otrp-wire"},
    "otrp-build-support": set(),
    "otrp-runtime": set(),
    "otrp-ta": {"otrp-build-support", "otrp-engine", "otrp-runtime", "otrp-trust", "otrp-wire"},
    "otrp-personal": {"otrp-wire"},
    "otrp-port-tests": {
        "otrp-build-support",
        "otrp-engine",
        "otrp-personal",
        "otrp-runtime",
        "otrp-ta",
        "otrp-wire",
    },
    "otrp-signer-ta": {"otrp-build-support", "otrp-personal", "otrp-runtime"},
    "otrp-agent": {"otrp-pem", "otrp-wire"},
    "otrp-lab": {"otrp-wire"},
    "otrp-signer-client": set(),
    "otrp-pem": set(),
    "otrp-check": {"otrp-wire"},
    "otrp-tam": {"otrp-check", "otrp-pem", "otrp-wire"},
    "otrp-keys": {"otrp-check", "otrp-pem", "otrp-trust"},
    "otrp-fuzz": {
        "otrp-check",
        "otrp-engine",
        "otrp-keys",
        "otrp-sim",
        "otrp-tam",
        "otrp-trust",
        "otrp-wire",
    },
    "otrp-sim": {"otrp-check", "otrp-port-tests", "otrp-engine", "otrp-keys", "otrp-tam", "otrp-wire"},
    "otrp-qemu": {"otrp-check", "otrp-keys", "otrp-tam", "otrp-wire"},
}
# A test may compare with another part of the project; a product may not contain it.
TESTS_MAY_USE = {
    "otrp-agent": {"otrp-sim", "otrp-tam"},
    "otrp-engine": {"otrp-check", "otrp-sim"},
    "otrp-tam": {"otrp-keys"},
}

errors = []
for package in json.load(sys.stdin)["packages"]:
    name = package["name"]
    if name not in MAY_USE:
        errors.append(f"{name} is not listed in qemu/scripts/check/dependency_direction.py")
        continue
    for dependency in package["dependencies"]:
        used = dependency["name"]
        allowed = MAY_USE[name]
        if dependency["kind"] == "dev":
            allowed = allowed | TESTS_MAY_USE.get(name, set())
        if used.startswith("otrp-") and used not in allowed:
            errors.append(f"{name} must not depend on {used}")
for error in errors:
    print(f"error: {error}", file=sys.stderr)
sys.exit(bool(errors))
