# The front door. Each target does its own set-up; a second run takes seconds.
#
#   make run     set up, build, then the tour              make check   what CI checks besides
#   make test    set up, build, all tests                  make bench   writes build/bench.json
#   make format  lays out the C++ sources                  make clean   removes build/, keeps .deps/
#   make sim SEEDS=n   n seeds of the simulation (tests/sim), 1,000 unless said
#   make check-py315   guests and the stuck-state matrix on CPython 3.15, which it builds first
#   make soak SIZE=n   calls, stops and guests by the thousand (tests/soak); 0.1 is a tenth of it
#
# PYTHON=/path/to/python3.14, PYTHON=none, PYTHON_VERSION=3.15, COPPICE_PYTHON_SOURCE=/path/to/archive
# choose the CPython (tools/setup says more). COPPICE_JOBS=n bounds the build. ARGS=... goes to the tour.

TOOLS_PYTHON ?= /usr/bin/python3
export PYTHON PYTHON_VERSION COPPICE_PYTHON_SOURCE COPPICE_JOBS

.PHONY: run test check check-py315 sim soak bench format clean
.DEFAULT_GOAL := run
# One recipe at a time: each uses all cores itself.
.NOTPARALLEL:

run:
	@tools/setup
	@$(TOOLS_PYTHON) tools/build.py dev
	@build/coppice tour $(ARGS)

test:
	@tools/setup --tests
	@$(TOOLS_PYTHON) tools/build.py dev
	@$(TOOLS_PYTHON) tools/test.py

check:
	@tools/setup --tests
	@$(TOOLS_PYTHON) tools/check.py

check-py315:
	@tools/setup --tests --also 3.15
	@$(TOOLS_PYTHON) tools/check.py --only py315

sim:
	@tools/setup
	@$(TOOLS_PYTHON) tools/build.py dev --target tests/sim/sim
	@$(TOOLS_PYTHON) tools/sim.py --seeds $(or $(SEEDS),1000)

soak:
	@tools/setup
	@$(TOOLS_PYTHON) tools/build.py dev
	@$(TOOLS_PYTHON) tools/soak.py --size $(or $(SIZE),1)

bench:
	@tools/setup
	@$(TOOLS_PYTHON) tools/build.py dev
	@$(TOOLS_PYTHON) tools/build.py bench
	@$(TOOLS_PYTHON) tools/bench.py

format:
	@tools/setup
	@$(TOOLS_PYTHON) tools/check.py --fix-format

clean:
	rm -rf build
