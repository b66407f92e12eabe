#!/bin/bash
# What can be checked without running the code.
#   lint.sh DEVICE_CRATE...    the crates that only compile for the device
set -euo pipefail
. "$(dirname "$0")/../common.sh"

CARGO=$SCRIPTS/build/cargo.sh
cd "$ROOT"

host=()
for crate; do
    host+=(--exclude "$crate")
done

say "format"
"$CARGO" fmt --all --check

say "clippy, host"
"$CARGO" clippy --quiet --locked --workspace "${host[@]}" --all-targets -- -D warnings
# Without libteec it is a crate of the host, and so are its tests.
"$CARGO" clippy --quiet --locked -p otrp-agent --no-default-features --all-targets -- -D warnings
say "clippy, device"
# One by one: together, the applications without std would get it from the programs that have it.
for crate; do
    features=()
    if [ "$crate" = otrp-port-tests ]; then
        features=(--features ta)
    fi
    "$CARGO" clippy --quiet --locked --release --target aarch64-unknown-linux-gnu -p "$crate" "${features[@]}" \
        -- -D warnings
done

say "direction of dependencies"
"$CARGO" metadata --locked --format-version 1 --no-deps | "$PYTHON3" "$SCRIPTS/check/dependency_direction.py"

say "order of modules"
"$PYTHON3" "$SCRIPTS/check/module_circles.py" --self-test
"$PYTHON3" "$SCRIPTS/check/module_circles.py" ta/wire/src ta/engine/src host/tam/src

say "conformance table"
"$PYTHON3" "$SCRIPTS/check/conformance_table.py"

say "links, tables and examples of the documents"
"$PYTHON3" "$SCRIPTS/check/references.py"

say "doctests that must not compile"
"$PYTHON3" "$SCRIPTS/check/compile_fail_twins.py"

say "phrases"
"$PYTHON3" "$SCRIPTS/check/prose.py" --self-test
"$PYTHON3" "$SCRIPTS/check/prose.py"

say "spelling"
# A mirror's archive has no git: all files but what is generated, quoted or not text.
find . -type f -not -path './.git/*' -not -path './.cache/*' -not -name '*.lock' -not -name '*.patch' -not -name '*.json' \
    -not -path '*/vectors*' -not -path '*/fixtures/*' -not -path '*/appendix_a/*' -not -path '*/corpus/*' -not -name 'cookbook.rs' \
    -exec codespell --quiet-level 3 --ignore-words-list crate,keypair,inout,deriver,fo,migh {} +

say "shell scripts"
shellcheck qemu/scripts/*.sh qemu/scripts/*/*.sh qemu/boards/*.conf qemu/guest/* .ci/run
