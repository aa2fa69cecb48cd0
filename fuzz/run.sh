#!/bin/bash
# Fuzzes targets for SECONDS each: fuzz/run.sh SECONDS [target...]; without targets, all of them.
# PARSERS_ONLY=1 leaves out those of whole programs, whose dependencies take minutes to build.
#
# cargo-fuzz is not needed: the flags below are all it passes to the compiler, and the programs are
# libFuzzer's own. What was found interesting is kept in target/fuzz/corpus, inputs that came to grief
# in target/fuzz/findings; put those into fuzz/seeds once mended.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=$1
shift
targets=("$@")
[ ${#targets[@]} -gt 0 ] || mapfile -t targets < <(ls fuzz/seeds)
programs=" $(sed -n '/^# Of whole programs/,$s/^name = "\(.*\)"/\1/p' fuzz/Cargo.toml | tr '\n' ' ')"
parsers=()
for target in "${targets[@]}"; do
	[[ $programs == *" $target "* ]] || parsers+=("$target")
done
features=()
if [ -n "${PARSERS_ONLY:-}" ]; then
	targets=("${parsers[@]}")
elif [ ${#parsers[@]} -lt ${#targets[@]} ]; then
	features=(--features programs)
fi

if ! cargo +nightly --version >/dev/null 2>&1; then
	echo "fuzz: SKIPPED ${#targets[@]} targets (${targets[*]}): no nightly compiler (rustup toolchain install nightly)"
	exit 0
fi

folder=${CARGO_TARGET_DIR:-$PWD/target}/fuzz
triple=$(rustc +nightly -vV | sed -n 's/^host: //p')
RUSTFLAGS="--cfg fuzzing -Zsanitizer=address -Cpasses=sancov-module \
-Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
-Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares" \
	cargo +nightly build -q --release --manifest-path fuzz/Cargo.toml \
	--target "$triple" --target-dir "$folder" "${features[@]}"

# SQLite has two tables of one name in its one file of C, which is no fault.
export ASAN_OPTIONS=detect_odr_violation=0
for target in "${targets[@]}"; do
	corpus=$folder/corpus/$target findings=$folder/findings/$target log=$folder/$target.log
	mkdir -p "$corpus" "$findings"
	if ! "$folder/$triple/release/$target" "$corpus" "fuzz/seeds/$target" \
		-max_total_time="$seconds" -max_len=32768 -timeout=10 -rss_limit_mb=2048 \
		-print_final_stats=1 -print_funcs=0 -artifact_prefix="$findings/" >"$log" 2>&1; then
		tail -n 40 "$log"
		echo "fuzz: $target came to grief; the input is in $findings"
		exit 1
	fi
	runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
	echo "fuzz: $target: $runs executions in $seconds s, no findings"
done
