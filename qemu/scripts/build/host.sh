#!/bin/bash
# Builds host programs, unoptimised but for their dependencies, as `cargo test` does.
#   host.sh PACKAGE...    into .cache/target/debug
set -euo pipefail
. "$(dirname "$0")/../common.sh"

lock
inputs=$(key_of_tree "$ROOT"/{Cargo.toml,Cargo.lock,host,keys,qemu/Cargo.toml,qemu/src,ta} "$CACHE/rust.env")
name=host-$(key "$@" | cut -c1-8)
made=("${@/#/$CACHE/target/debug/}")
fresh "$name" "$inputs" "${made[@]}" && exit
say "compiling $*, a few minutes the first time"
packages=()
for package; do
    packages+=(-p "$package")
done
"$SCRIPTS/build/cargo.sh" build --quiet --locked "${packages[@]}" --bins
mark "$name" "$inputs" "${made[@]}"
