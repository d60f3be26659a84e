# Everything that is done with Gantry by hand. `make run` and `make test` are all that a fresh Debian machine needs.
TARGET := x86_64-unknown-linux-gnu
RUNTIME := target/$(TARGET)/release/gantry-runtime

.PHONY: setup build run test conformance conformance-containerd conformance-engines conformance-vm bench bench-pull bench-tasks bench-engine soak fuzz clean

setup:
	@scripts/setup.sh

build:
	cargo build --release --package gantry-runtime-bin --package gantry-shim-bin --package gantryd --package gantry

## Builds Gantry and runs containers of real root file systems through it.
run: setup build
	@scripts/run.sh

## Formatting, the crate table, lints and every test; what CI calls. Packages of servers are downloaded once: scripts/packages.sh.
test: setup
	@cargo xtask ci

## The tests of cgroups, runtime, shim and engine in a virtual machine (cgroup v2 alone, systemd, AppArmor, all capabilities), and an
## installation through a reboot and a power cut.
conformance-vm: setup
	@cargo xtask conformance-vm

## Us and the peers in turn in one run. COUNT, VIEW (v1, v2), RUNTIMES (--runtime NAME=PATH ...) and SCENARIO (shim, run, exec, ...)
## may be given; shims are compared with --peer-shim PATH in RUNTIMES, or Debian's.
COUNT ?= 100
VIEW ?= v2
bench: setup build
	cargo run --release --package gantry-bench -- --view $(VIEW) --count $(COUNT) $(RUNTIMES) $(SCENARIO)

## Pulls of a large image, us and the peers in turn: COUNT, IMAGE (gzip, zstd; both without it) and ENGINES (by name; all without
## it) and PART (pulls, stages, latency, crowd) may be given: scripts/bench-pull.sh.
bench-pull: COUNT := $(if $(filter command environment,$(firstword $(origin COUNT))),$(COUNT),3)
bench-pull: setup
	@scripts/bench-pull.sh --count $(COUNT) $(if $(IMAGE),--image $(IMAGE)) $(if $(PART),--part $(PART)) $(ENGINES)

## Containers behind containerd's API, us and the peers in turn: COUNT, VIEW (v1, v2), PART (run, start, crowd, memory, pause) and
## ENGINES (by name; all without it) may be given: scripts/bench-tasks.sh.
bench-tasks: COUNT := $(if $(filter command environment,$(firstword $(origin COUNT))),$(COUNT),30)
bench-tasks: setup
	@VIEW=$(if $(filter command environment,$(firstword $(origin VIEW))),$(VIEW),v1) scripts/bench-tasks.sh --count $(COUNT) \
		$(if $(PART),--part $(PART)) $(ENGINES)

## The engine behind docker's command line and ours, beside dockerd and podman. COUNT, PART (run, exec, build, logs, idle), MIB (of a
## log) and ENGINES (by name; all without it) may be given: scripts/bench-engine.sh.
bench-engine: COUNT := $(if $(filter command environment,$(firstword $(origin COUNT))),$(COUNT),20)
bench-engine: setup
	@scripts/bench-engine.sh --count $(COUNT) $(if $(PART),--part $(PART)) $(if $(MIB),--mib $(MIB)) $(ENGINES)

## Other projects' suites, beside the lists of conformance/. SUITE (contest, runtime-tools, crun, bats, containerd) and DIR, a
## built checkout of it, or CONTEST, RUNTIME_TOOLS, CRUN, BATS, CONTAINERD for several in one run: docs/conformance.md. RUNTIME
## may be given, and DAEMON for containerd's.
SUITES = $(if $(SUITE),$(SUITE)=$(DIR)) $(if $(CONTEST),contest=$(CONTEST)) \
	$(if $(RUNTIME_TOOLS),runtime-tools=$(RUNTIME_TOOLS)) $(if $(CRUN),crun=$(CRUN)) $(if $(BATS),bats=$(BATS)) \
	$(if $(CONTAINERD),containerd=$(CONTAINERD))
# The suites have variables of these names.
unexport SUITE DIR CONTEST RUNTIME_TOOLS CRUN BATS CONTAINERD RUNTIME DAEMON
conformance: $(if $(filter command,$(firstword $(origin RUNTIME))),,build)
	@cargo xtask conformance --runtime $(RUNTIME) $(if $(DAEMON),--daemon $(DAEMON)) $(SUITES)

## The tests of the daemon with newer peers of Debian sid: ctr of containerd 2.x, docker's command line, and dockerd 28 with its images in
## containerd; then the engine's and the builder's sessions on that dockerd itself. FILTER may be given: scripts/engines.sh.
conformance-engines: setup
	@scripts/engines.sh $(FILTER)

## The tests of the shim with containerd 2.x of Debian sid, downloaded and not installed. FILTER, GANTRY_CONTAINERD and
## GANTRY_CTR may be given: scripts/containerd.sh.
FILTER ?=
conformance-containerd: setup
	@scripts/containerd.sh $(FILTER)

## The tests again and again, and longer races; then half an hour of random operations on shims. ROUNDS (0 for none),
## SHIM_SECONDS and SEED may be given.
ROUNDS ?= 20
SHIM_SECONDS ?= 1800
soak: setup
	@GANTRY_SHIM_SOAK_SECONDS=$(SHIM_SECONDS) $(if $(SEED),GANTRY_SOAK_SEED=$(SEED)) scripts/soak.sh $(ROUNDS)

## Throws damaged bytes at every parser. SECONDS (each target) and TARGETS may be given.
SECONDS ?= 30
fuzz:
	@scripts/setup.sh fuzz
	@scripts/fuzz.sh $(SECONDS) $(TARGETS)

clean:
	cargo clean
	rm -rf .cache
