# Start recipes with ./tools/just, which installs what they need first. The last
# line above a recipe is what `just --list` shows.

set positional-arguments

export JUST := just_executable()

musl := "x86_64-unknown-linux-musl"
images := "target/images"

# List the recipes.
[private]
default:
    @{{ JUST }} --list --unsorted

# Format everything.
fmt:
    cargo fmt --all
    cd tests/fuzz && cargo fmt

# Clippy on every target; a warning fails.
lint:
    cargo clippy --workspace --all-targets --locked -- -D warnings

# Licences, sources, bans and the arrows between our crates, from deny.toml.
deny:
    .ci/dependencies.py

# Installs cargo-deny (minutes) and fetches the RustSec database from GitHub, so
# it is no part of `test`, which runs without GitHub.
#
# Security advisories about dependencies.
deny-advisories:
    command -v cargo-deny >/dev/null || cargo install --locked cargo-deny
    cargo deny check advisories

# Every tier of the smoke set: what CI runs.
test:
    .ci/tiers smoke

# Every matrix, every firmware path, soak and long fuzz: hours.
test-full:
    .ci/tiers full

# A rack of QEMU sleds runs jobs from a GitHub stand-in: --sleds N --jobs M --keep.
demo *ARGUMENTS: programs images
    target/debug/musher-demo "$@"

# Renew the README's picture of the status page, from a demo.
picture: programs images
    cd tests/e2e/browser && npm ci --ignore-scripts --no-audit --no-fund
    target/debug/musher-demo --jobs 5 --dir target/demo-picture | \
        node tools/demo/picture.mjs tools/demo/status-page.png

# Take down what `demo --keep` left running.
demo-down DIR="target/demo":
    target/debug/musher-demo down --dir {{ DIR }}

# A world that broke prints the options that make it small.
#
# Replay one seed of the simulation, telling everything that happens.
sim SEED *OPTIONS:
    cargo run --locked --package musher-sim --bin sim -- --trace --seed "$@"

# Worlds of many sizes on all processors; the first that breaks is made smaller,
# printed and ends it.
#
# Many seeds of the simulation, from START on.
soak SEEDS="100000" START="0":
    cargo run --locked --package musher-sim --bin sim -- --stop \
        --seeds {{ START }}..$(({{ START }} + {{ SEEDS }}))

# Lost, doubled and late deliveries, lost answers, an outage of the tunnel; a table.
#
# Replay the events of 10,000 jobs.
replay:
    cargo test --workspace --locked --test replay -- \
        --include-ignored --nocapture --test-threads=1

# Deliberate defects of the core, each of which simulated worlds must catch.
defects *NAMES:
    tests/sim/defects/run "$@"

# Queue, sleds by state and waits over 24 hours, in target/sim/day.svg.
#
# Draw a day of 40 sleds.
sim-day SEED="3" *OPTIONS:
    cargo run --locked --package musher-sim --bin sim -- --day target/sim/day.svg \
        --sleds 40 --minutes 1440 --traffic day \
        --faults die,cancel --heavy rack,tunnel,outage \
        --seed "$@"

# What it finds is kept in tests/fuzz/artifacts, what it learns in
# tests/fuzz/corpus.
#
# Fuzz one parser; without a name, list them.
fuzz NAME="" SECONDS="60": fuzz-build
    #!/bin/bash
    set -euo pipefail
    if [ -z "{{ NAME }}" ]; then
        ls tests/fuzz/targets | sed 's/\.rs$//'
        exit
    fi
    mkdir -p tests/fuzz/artifacts tests/fuzz/corpus/{{ NAME }}
    exec target/fuzz/x86_64-unknown-linux-gnu/release/{{ NAME }} \
        -max_total_time={{ SECONDS }} -timeout=5 -rss_limit_mb=1024 -print_final_stats=1 \
        -artifact_prefix=tests/fuzz/artifacts/{{ NAME }}- \
        tests/fuzz/corpus/{{ NAME }} tests/corpus/{{ NAME }}

# Fuzz every parser for SECONDS, as many at a time as there are processors.
fuzz-smoke SECONDS="60": fuzz-build
    #!/bin/bash
    set -euo pipefail
    mkdir -p target/ci
    one() {
        local log=target/ci/fuzz-$1.log
        mkdir -p tests/fuzz/artifacts tests/fuzz/corpus/"$1"
        if target/fuzz/x86_64-unknown-linux-gnu/release/"$1" \
            -max_total_time={{ SECONDS }} -timeout=5 -rss_limit_mb=1024 \
            -artifact_prefix=tests/fuzz/artifacts/"$1"- \
            tests/fuzz/corpus/"$1" tests/corpus/"$1" >"$log" 2>&1; then
            echo "fuzz $1 ... ok ($(sed -n 's/^Done //p' "$log"))"
        else
            echo "fuzz $1 ... FAILED"
            tail -n 40 "$log"
            return 1
        fi
    }
    export -f one
    ls tests/fuzz/targets | sed 's/\.rs$//' |
        xargs -P "$(nproc)" -I NAME bash -c 'one NAME'

[private]
fuzz-build:
    cd tests/fuzz && cargo build --locked --release --quiet

# Measure beside named peers; results in target/bench/summary.json.
bench *NAME: build images
    cargo run --locked --release --package musher-bench -- "$@"

# A table, and target/bench/traces.svg.
#
# Traffic of three models on the control core, beside first in, first out.
traces:
    cargo run --locked --release --package musher-bench -- traces

# Bring a rack of two QEMU sleds up and hold it (see musher-lab --help).
lab *ARGUMENTS: programs
    target/debug/musher-lab up --dir target/lab "$@"

# Needs an App: see tools/demo/accept-real.md.
#
# The demo's chain against real GitHub and the real runner.
accept-real *ARGUMENTS: programs images
    target/debug/musher-demo accept-real "$@"

# Static release binaries of what ships, in target/x86_64-unknown-linux-musl/release.
build:
    cargo build --locked --release --target {{ musl }} --package musher --package musher-sled

# Kernel, initramfs with the agent, and the stub runner's root filesystem. Made
# again only when an input changed.
#
# What a sled netboots, in target/images.
images: programs
    #!/bin/bash
    set -euo pipefail
    cargo build --locked --quiet --release --target {{ musl }} --package musher-sled --package stub-runner
    agent=target/{{ musl }}/release/musher-sled
    runner=target/{{ musl }}/release/stub-runner
    out={{ images }}
    mkdir -p $out
    [ -f $out/kernel/vmlinuz ] || target/debug/musher-image kernel --out $out/kernel
    if [ ! $out/initramfs.img -nt $agent ] || [ ! $out/initramfs.img -nt $out/kernel/vmlinuz ]; then
        target/debug/musher-image initramfs --kernel $out/kernel --agent $agent --out $out/initramfs.img
    fi
    if [ ! $out/runner.tar.gz -nt $runner ] || [ ! -f $out/runner.squashfs.manifest.toml ]; then
        target/debug/fakehub runner-tarball --runner $runner --out $out/runner.tar.gz
        # The version that the demo's GitHub stand-in offers.
        target/debug/musher-image runner --tarball $out/runner.tar.gz --runner-version 2.335.0 --out $out/runner.squashfs
    fi

# Every program of the workspace, for development. The test tiers have built
# them together with their tests, whose features differ a little.
[private]
programs:
    [ -n "${PROGRAMS_ARE_BUILT:-}" ] || cargo build --locked --workspace --bins
