#!/bin/bash
# Runs the fuzz targets of ta/fuzz one after the other, and says what was found.
#   fuzz.sh SECONDS [TARGET...]
#
# Coverage comes from LLVM's pass, which the stable compiler has too; no sanitizer is needed where
# nothing is unsafe. Inputs that reach something new are kept in .cache/fuzz/corpus and are the start
# of the next run.
set -euo pipefail
. "$(dirname "$0")/../common.sh"

FUZZ=$CACHE/fuzz
CRATE=$ROOT/ta/fuzz
seconds=$1
shift
targets=("$@")
if [ ${#targets[@]} = 0 ]; then
    for program in "$CRATE"/targets/*.rs; do
        targets+=("$(basename "$program" .rs)")
    done
fi

host=$("$SCRIPTS/build/cargo.sh" --version --verbose | sed -n 's/^host: //p')
flags="-Cpasses=sancov-module"
for option in level=3 inline-8bit-counters pc-table trace-compares; do
    flags+=" -Cllvm-args=-sanitizer-coverage-$option"
done
programs=()
for target in "${targets[@]}"; do
    programs+=(--bin "fuzz_$target")
done
say "building the fuzz targets; about 10 minutes the first time"
# With --target the flags are those of the target alone: build scripts are not instrumented.
variable=CARGO_TARGET_${host//-/_}_RUSTFLAGS
env "${variable^^}=$flags" "$SCRIPTS/build/cargo.sh" build --quiet --locked --profile fuzz --target "$host" \
    --target-dir "$FUZZ/target" -p otrp-fuzz --features libfuzzer "${programs[@]}"

findings=0
for target in "${targets[@]}"; do
    program=$FUZZ/target/$host/fuzz/fuzz_$target
    corpus=$FUZZ/corpus/$target found=$FUZZ/findings/$target log=$FUZZ/log/$target.log
    mkdir -p "$corpus" "$found" "$(dirname "$log")"
    say "$target, $seconds s"
    status=0
    "$program" "$corpus" "$CRATE/corpus/$target" -dict="$CRATE/dictionary.txt" -artifact_prefix="$found/" \
        -max_total_time="$seconds" -max_len=16384 -timeout=25 -rss_limit_mb=2048 -print_final_stats=1 \
        >"$log" 2>&1 </dev/null || status=$?
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    reached=$(sed -n 's/.* cov: \([0-9]*\) ft: \([0-9]*\) corp: \([^ ]*\) .*/\1 edges, \2 features, \3 inputs/p' "$log" | tail -n 1)
    say "  ${runs:-no} executions; $reached"
    if [ "$status" != 0 ]; then
        findings=$((findings + 1))
        grep -m 3 -E "panicked|^ERROR|^==.*(ERROR|SUMMARY)" -A 2 "$log" >&2 || tail -n 5 "$log" >&2
        input=$(sed -n 's/.*Test unit written to //p' "$log" | tail -n 1)
        say "  found: $input"
        say "  again: $program $input"
        say "  copy it to ta/fuzz/findings/$target/ to make it a test"
    fi
done
[ "$findings" = 0 ] || fail "$findings of ${#targets[@]} targets found something"
