# The one door: `make help` lists what there is.
#
# Everything that is built or downloaded goes to .cache. The scripts in qemu/scripts know by the
# contents of their inputs what is up to date, so each target here just asks for what it needs.

SCRIPTS := qemu/scripts
CARGO := $(SCRIPTS)/build/cargo.sh
# A program built by $(SCRIPTS)/build/host.sh
PROGRAM = .cache/target/debug/$(1)
# libteec and the TA dev kit are needed to compile these; the others are the default members.
DEVICE_CRATES := otrp-ta otrp-runtime otrp-personal otrp-port-tests otrp-signer-ta otrp-agent otrp-lab otrp-signer-client
ARM64 := --target aarch64-unknown-linux-gnu

.DEFAULT_GOAL := help
.PHONY: help setup keys development image lab rsa rpi3 packed run audit lock shell test test-host test-device test-32 ports reproducible soak lint size bench fuzz clean
.NOTPARALLEL:
# What these build is for QEMU and carries the development keys that `make keys` makes, so they ask for
# them. `make image` does not: it wants the maker's own.
run test test-device ports reproducible soak lint size bench shell development lab rsa rpi3: export ALLOW_DEV_KEYS := 1
# What `make image` makes: product, or the factory's; with development keys a development image.
IMAGE ?= $(if $(filter 1,$(ALLOW_DEV_KEYS)),development,product)
MAKEFLAGS += --no-print-directory

## help: this list
help:
	@echo 'An OTrP broker for OP-TEE. Targets:'
	@sed -n 's/^## \([a-z0-9-]*\): /  \1\t/p' $(MAKEFILE_LIST) | expand -t 12

## run: a TAM installs, updates and deletes a trusted application in OP-TEE under QEMU; BOARD=rpi3 for the other board
run: development
	@$(SCRIPTS)/build/host.sh otrp-tam otrp-keys otrp-qemu
	@$(call PROGRAM,otrp-qemu) run

## test: all tests: lint, host crates, then the adapters and the whole flow inside OP-TEE
test: lint test-host test-device

## test-host: the tests that need no emulator
test-host: setup
	@if $(CARGO) nextest --version >/dev/null 2>&1; then \
		$(CARGO) nextest run --locked --no-fail-fast --workspace $(DEVICE_CRATES:%=--exclude %) --no-tests pass && \
		$(CARGO) test --quiet --locked --doc --workspace $(DEVICE_CRATES:%=--exclude %); \
	else \
		$(CARGO) test --quiet --locked --no-fail-fast --workspace $(DEVICE_CRATES:%=--exclude %); \
	fi
	@$(CARGO) test --quiet --locked --no-fail-fast -p otrp-agent --no-default-features
	@$(SCRIPTS)/check/storage.sh

# Two at a time: an emulated device keeps little more than one CPU busy.
## test-device: the tests that run inside OP-TEE under QEMU
test-device: packed lab rsa rpi3
	@$(SCRIPTS)/build/host.sh otrp-tam otrp-keys otrp-qemu
	@$(CARGO) test --quiet --locked --no-fail-fast -p otrp-qemu -- --ignored --test-threads 2

## test-32: the tests of the platform-free crates on 32-bit ARM, under emulation
test-32: setup
	@$(SCRIPTS)/check/arm32.sh otrp-wire otrp-engine

## ports: links the broker with the TA dev kits of other platforms
ports: keys
	@$(SCRIPTS)/check/ports.sh

## reproducible: builds the images again in another folder, and compares; BOARD=rpi3 for the other board
reproducible: development rsa
	@$(SCRIPTS)/check/reproducible.sh development rsa

## soak: the long runs: a second build, other platforms, all faults, power cuts, hostile clients, the Raspberry Pi
soak: packed lab rpi3 test-32 ports reproducible
	@$(SCRIPTS)/build/host.sh otrp-tam otrp-keys otrp-qemu
	@$(CARGO) test --quiet --locked -p otrp-sim -- --ignored
	@$(MAKE) reproducible BOARD=rpi3
	@OTRP_SOAK=1 $(CARGO) test --quiet --locked -p otrp-qemu --test storage --test interrupted -- --ignored --test-threads 1
	@$(call PROGRAM,otrp-qemu) soak
	@$(call PROGRAM,otrp-qemu) --board rpi3 run

## lint: format, clippy, dependencies, order of modules, documents, spelling and phrases, shell scripts
lint: development lab audit
	@$(SCRIPTS)/setup/host-packages.sh lint
	@$(SCRIPTS)/check/lint.sh $(DEVICE_CRATES)

## size: what the broker takes in the image and in memory, and how often it could panic
size: development lab
	@$(SCRIPTS)/build/host.sh otrp-tam otrp-keys otrp-qemu
	@$(SCRIPTS)/check/size.sh
	@$(call PROGRAM,otrp-qemu) memory

## bench: the engine beside josekit on this machine, then install times inside OP-TEE beside raw, calls to the normal world
bench: development lab rsa
	@$(SCRIPTS)/build/host.sh otrp-tam otrp-keys otrp-qemu
	@$(CARGO) bench --quiet --locked -p otrp-sim --bench open
	@$(call PROGRAM,otrp-qemu) bench
	@$(call PROGRAM,otrp-qemu) calls

## fuzz: every fuzz target for SECONDS=60 each, or those that TARGETS names (ta/fuzz)
fuzz: setup
	@$(SCRIPTS)/setup/host-packages.sh fuzz
	@$(SCRIPTS)/check/fuzz.sh $(or $(SECONDS),60) $(TARGETS)

## shell: a shell in the device's Linux
shell: development
	@$(SCRIPTS)/build/host.sh otrp-qemu
	@$(call PROGRAM,otrp-qemu) shell

## keys: the development PKI, made once (.cache/keys/dev)
keys: setup
	@$(SCRIPTS)/setup/keys.sh

# What a device boots, TF-A, OP-TEE with the broker, Linux, with development keys (.cache/image/development)
development: setup
	@$(SCRIPTS)/build/image.sh development

## image: the product to deliver: a folder that runs in QEMU, or with BOARD=rpi3 an SD card; IMAGE=factory for certification
image: setup
	@$(SCRIPTS)/build/image.sh $(IMAGE)
	@$(SCRIPTS)/build/host.sh otrp-qemu
	@$(SCRIPTS)/build/release.sh $(IMAGE)

# The same with development keys, whatever else is asked for.
packed: development
	@$(SCRIPTS)/build/host.sh otrp-qemu
	@$(SCRIPTS)/build/release.sh development

## lab: an image with what tests and benchmarks need (.cache/image/lab)
lab: setup
	@$(SCRIPTS)/build/image.sh lab

## rsa: the same with RSA keys in the TEE (.cache/image/rsa); `otrp-qemu run --suite rsa` drives it
rsa: setup
	@$(SCRIPTS)/build/image.sh rsa

# The same as `make packed BOARD=rpi3`, for those that need both.
rpi3: setup
	@$(MAKE) packed BOARD=rpi3

## lock: renews the list of what images are made of beyond the source (qemu/packages.lock)
lock: setup
	@$(SCRIPTS)/setup/lock.sh

## audit: licences, bans, sources and known vulnerabilities of the dependencies
audit: setup
	@$(SCRIPTS)/check/audit.sh

## setup: Debian packages and a Rust for host and device, where they are missing
setup:
	@$(SCRIPTS)/setup/host-packages.sh
	@$(SCRIPTS)/setup/rust.sh

## clean: remove what was built, with keys and devices; downloads and tools stay
clean:
	@$(SCRIPTS)/setup/clean.sh
